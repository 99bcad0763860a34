# Types of the public names, which `__init__.py` imports when they are first used.

from obskit.ai.advice import Recommendation as Recommendation
from obskit.ai.budget_declaration import budget as budget
from obskit.ai.budget_declaration import budgets as budgets
from obskit.ai.declared_budget import Budget as Budget
from obskit.ai.declared_budget import BudgetStatus as BudgetStatus
from obskit.ai.observe import record as record
from obskit.ai.pricing import Price as Price
from obskit.ai.pricing import PriceData as PriceData
from obskit.ai.rate_limit_headers import RateLimit as RateLimit
from obskit.ai.rate_limit_headers import rate_limits as rate_limits
from obskit.ai.report_figures import CallGroup as CallGroup
from obskit.ai.report_figures import FailedCall as FailedCall
from obskit.ai.report_figures import Projection as Projection
from obskit.ai.report_figures import Spread as Spread
from obskit.ai.reporting import AiReport as AiReport
from obskit.ai.reporting import report as report
from obskit.ai.token_kinds import Usage as Usage
