"""
The processes of one service: whose worker each is, what they lock, and which of them acts for all.
"""
