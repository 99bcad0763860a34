"""
The clock, and what is said of time: durations, local times, schedules, service hours.
"""
