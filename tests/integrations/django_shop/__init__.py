"""
A Django project with two databases, which uses the ORM with and without obskit and compares.
"""
