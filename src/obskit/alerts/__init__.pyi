# Types of the public names, which `__init__.py` imports when they are first used.

from obskit.rules.declared import rule as rule
from obskit.rules.in_force import rules as rules
from obskit.rules.rule import Rule as Rule
