from datetime import timedelta

from obskit.fields import Section, duration, section, setting, text


@section
class ToySettings(Section, subject="Toy"):
    toy_every: timedelta = setting(timedelta(minutes=1), duration("a length of time"), "How often the toy counts.")
    toy_token: str | None = setting(None, text, "Token of operators.", secret=True)
