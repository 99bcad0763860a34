"""
Name and time database queries, whatever the driver.
"""
