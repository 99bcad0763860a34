import os

from obskit.background import Ticks
from obskit.catalogue.events import EventKind
from obskit.components import Component
from obskit.recorder import recorder
from obskit.service_settings import ServiceSettings
from obskit.storage.periods import PeriodFiles
from obskit.storage.state_folder import StateFolder
from obskit.time.clock import clock
from obskit.web.access import Access
from obskit.web.replies import text
from obskit.web.router import Route
from obskit.workers.candidates import when_serving
from obskit.workers.service_leader import leads
from toy.settings import ToySettings

COUNTED = EventKind("toy.counted", ("INFO",), "The toy has counted.", {"leader": "Who leads."})


class Toy(Component):
    name, section = "toy", ToySettings

    def __init__(self, assembly):
        self._settings, service = assembly.settings.of(ToySettings), assembly.settings.of(ServiceSettings)
        folder = StateFolder(service.state_dir, service.service).path / "toy"
        self._files = PeriodFiles(folder, "day", 1_000_000, suffix=".txt")
        self._routes, self._subscribers = assembly.part("health").routes, assembly.part("subscribers")
        self._thread = Ticks(name="toy", step=self._count, failed=recorder.failed, part="toy")
        self.heard = []

    def start(self):
        self._routes.add("/toy", Route("toy", {"POST": self._show}, Access(token=self._settings.toy_token)))
        self._subscribers.subscribe([COUNTED], self.heard.append, part="toy", everywhere=True)
        when_serving(self._thread.start, self.name)

    def stop(self, deadline):
        self._thread.stop(deadline)

    def _show(self, request):
        return text(200, f"{len(self.heard)}\n")

    def _count(self):
        if leads():
            path = self._files.path_at(clock.wall(), str(os.getpid()))
            os.makedirs(path.parent, exist_ok=True)
            with path.open("a") as file:
                file.write(f"{clock.wall()}\n")
            recorder.emit(COUNTED.event("counted", {"leader": os.getpid()}))
        return self._settings.toy_every.total_seconds()
