"""
The ledger: what is reserved is reserved for all processes, and nothing that goes wrong with the file goes unsaid.
"""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from forked import in_child
from obskit.ai.budget_file import file_of
from obskit.ai.ledger import Ledger
from obskit.ai.reservations import ReservationRefusal, ReservationRequest, UnavailableError
from obskit.process_identity import identity, is_dead
from obskit.recorder import recorder
from obskit.testing import FakeClock

NOW = 1_800_000_000.0
DAY = 86_400.0


@pytest.fixture
def told():
    return []


@pytest.fixture
def make(tmp_path, told):
    made = []

    def make(path=None):
        path = path or file_of(tmp_path / "state", "shop")
        made.append(Ledger(path, lambda kind, message: told.append(kind), told.append))
        return made[-1]

    yield make
    for ledger in made:
        ledger.close()


@pytest.fixture(autouse=True)
def clock():
    recorder.wall_clock = FakeClock(NOW)
    yield recorder.wall_clock
    recorder.reset()


def ask(usd=0.1, limit=1.0, start=NOW, key="daily", blocks=True):
    return ReservationRequest(key, start, usd, limit, blocks)


def read(path, statement):
    with sqlite3.connect(path) as db:
        rows = db.execute(statement).fetchall()
    db.close()
    return rows


def test_a_reserve_holds_until_it_is_settled(make):
    """
    What a call may cost is taken at once; what it did cost takes its place, and an estimate is marked as one.
    """
    ledger = make()
    one, two = ledger.reserve([ask(0.6)], NOW), ledger.reserve([ask(0.3)], NOW)
    refused = ledger.reserve([ask(0.2)], NOW)
    ledger.settle(one, [0.05])
    ledger.settle(two, [0.01], estimated=True)

    assert refused == ReservationRefusal(0, NOW, 0.0, pytest.approx(0.9), True, False)
    assert ledger.figures("daily", NOW, NOW)[:4] == (NOW, pytest.approx(0.06), 0.01, 0.0)


def test_a_release_gives_everything_back(make):
    """
    A call that was refused by its provider costs nothing; to release twice does no harm.
    """
    ledger = make()
    held = ledger.reserve([ask(0.6)], NOW)
    ledger.release(held)
    ledger.release(held)

    assert ledger.figures("daily", NOW, NOW)[:4] == (NOW, 0.0, 0.0, 0.0)


def test_several_budgets_are_asked_as_one(make):
    """
    Where one refuses, nothing is taken from the others.
    """
    ledger = make()
    refused = ledger.reserve([ask(0.5, key="wide", limit=9), ask(2.0, key="narrow")], NOW)

    assert refused.place == 1
    assert ledger.figures("wide", NOW, NOW).reserved == 0.0


def test_who_asks_in_the_middle_of_a_transaction_is_answered_from_memory(make):
    """
    A finaliser, or a signal's handler, that asks while its thread is at the file neither waits nor meddles: it is
    answered by what was last known, and what it spends counts.
    """
    ledger = make()
    ledger.reserve([ask(0.6)], NOW)
    with ledger._database.exclusively():
        held, glanced = ledger.reserve([ask(0.2)], NOW), ledger.current_refusal(ask())
        with pytest.raises(UnavailableError, match="in use by the code"):
            ledger.figures("daily", NOW, NOW)
    ledger.settle(held, [0.5])

    assert ([one.id for one in held], glanced) == ([None], None)
    assert ledger.figures("daily", NOW, NOW)[:4] == (NOW, 0.5, 0.0, 0.6)
    with ledger._database.exclusively():
        assert ledger.reserve([ask(0.2)], NOW).place == 0


def test_a_budget_that_warns_takes_whatever_is_left(make):
    """
    Beyond its limit it still counts.
    """
    ledger = make()
    held = ledger.reserve([ask(5.0, blocks=False)], NOW)
    ledger.settle(held, [5.0])

    assert ledger.figures("daily", NOW, NOW).spent == 5.0


def test_shares_are_told_once_among_all(make, told):
    """
    50, 80 and 100 % come once a period each, whichever process gets there, and again in the next period.
    """
    ledgers = [make(), make()]
    for start in (NOW, NOW + DAY):
        for count in range(12):
            ledger = ledgers[count % 2]
            ledger.settle(ledger.reserve([ask(0.1, start=start, blocks=False)], start), [0.1])
            ledger.write()

    assert [(news.start, news.percent) for news in told] == [
        (start, percent) for start in (NOW, NOW + DAY) for percent in (50, 80, 100)
    ]


def test_a_refusal_is_the_first_once_a_period(make):
    """
    Only one among all processes is told to tell of it.
    """
    ledgers = [make(), make()]

    assert [ledger.reserve([ask(2.0)], NOW).is_first for ledger in ledgers * 2] == [True, False, False, False]


def test_a_clock_that_goes_back_stays_in_the_later_period(make):
    """
    What is spent after that counts there, and the next period begins when it is its turn.
    """
    ledger = make()
    ledger.settle(ledger.reserve([ask(0.4, start=NOW + DAY)], NOW + DAY), [0.4])
    ledger.settle(ledger.reserve([ask(0.5)], NOW), [0.5])

    assert ledger.figures("daily", NOW, NOW)[:2] == (NOW + DAY, 0.9)
    assert isinstance(ledger.reserve([ask(0.2)], NOW), ReservationRefusal)
    assert ledger.figures("daily", NOW + 2 * DAY, NOW + 2 * DAY)[:2] == (NOW + 2 * DAY, 0.0)


def test_a_call_is_settled_in_the_period_that_it_began_in(make):
    """
    One that runs over midnight is the old day's.
    """
    ledger = make()
    held = ledger.reserve([ask(0.4)], NOW)
    ledger.reserve([ask(0.1, start=NOW + DAY)], NOW + DAY)
    ledger.settle(held, [0.3])
    ledger.write()

    assert read(ledger.path, "SELECT period_start, usd FROM spent ORDER BY 1") == [(NOW, 0.3), (NOW + DAY, 0.0)]


def test_what_was_reserved_long_ago_is_given_back(make):
    """
    A call that nobody ended is taken for lost after an hour.
    """
    ledger = make()
    ledger.reserve([ask(1.0)], NOW)

    assert isinstance(ledger.reserve([ask(0.5)], NOW + 3599), ReservationRefusal)
    assert not isinstance(ledger.reserve([ask(0.5)], NOW + 3601), ReservationRefusal)


def test_it_survives_a_restart(make):
    """
    What was spent is there for the next process.
    """
    ledger = make()
    ledger.settle(ledger.reserve([ask()], NOW), [0.7])
    ledger.close()

    assert make().figures("daily", NOW, NOW).spent == 0.7


def test_the_rate_needs_a_day_of_data(make):
    """
    Under a day it is too early; from then on it is what was spent by what has passed.
    """
    ledger = make()
    ledger.settle(ledger.reserve([ask()], NOW), [0.5])

    assert ledger.figures("daily", NOW, NOW + DAY - 1).rate is None
    assert ledger.figures("daily", NOW + DAY, NOW + DAY).rate == 0.5 / DAY


def test_the_file_is_this_users_alone(make):
    """
    The directory is made with 0700, and the file with 0600, whatever the umask.
    """
    old = os.umask(0)
    try:
        ledger = make()
        ledger.reserve([ask()], NOW)
    finally:
        os.umask(old)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in ledger.path.parent.iterdir()}

    assert stat.S_IMODE(ledger.path.parent.stat().st_mode) == 0o700
    assert modes["ai-budgets.sqlite3"] == 0o600
    assert set(modes.values()) == {0o600}


# Processes and threads

WORKER = """
    import sys
    from pathlib import Path
    from obskit.ai.ledger import Ledger
    from obskit.ai.reservations import ReservationRequest, ReservationRefusal
    from obskit.recorder import recorder

    recorder.wall_clock = lambda: 1_800_000_000.0
    ledger = Ledger(Path(sys.argv[1]), lambda *news: None, lambda crossing: None)
    ask = ReservationRequest("daily", 1_800_000_000.0, 0.013, 1.0, True)
    print("ready", flush=True)
    sys.stdin.readline()
    given = 0
    while not isinstance(held := ledger.reserve([ask], 1_800_000_000.0), ReservationRefusal):
        given += 1
        if sys.argv[2] == "hold":
            print("held", flush=True)
            sys.stdin.readline()
        ledger.settle(held, [0.013])
    ledger.close()
    print(given)
"""


def start(path, what):
    command = [sys.executable, "-c", textwrap.dedent(WORKER), path, what]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_four_processes_never_pass_the_limit(make):
    """
    Four processes that take all they get take exactly what there is: 76 times 1.3 cents of a dollar.
    """
    ledger = make()
    workers = [start(ledger.path, "spend") for _ in range(4)]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("\n")
        worker.stdin.flush()
    given = [int(worker.communicate()[0]) for worker in workers]

    assert sum(given) == 76
    assert ledger.figures("daily", NOW, NOW)[:4] == (NOW, pytest.approx(76 * 0.013), 0.0, 0.0)


def test_sixty_four_threads_never_pass_the_limit(make):
    """
    Nor do threads of one process.
    """
    ledger = make()

    def spend(_):
        given = 0
        while not isinstance(held := ledger.reserve([ask(0.013)], NOW), ReservationRefusal):
            given += 1
            ledger.settle(held, [0.013])
        return given

    with ThreadPoolExecutor(64) as pool:
        given = sum(pool.map(spend, range(64)))

    assert given == 76
    assert ledger.figures("daily", NOW, NOW)[:4] == (NOW, pytest.approx(76 * 0.013), 0.0, 0.0)


def test_what_a_killed_process_reserved_is_given_back(make):
    """
    A process that is killed in the middle of a call leaves nothing reserved, even before anybody has reaped it.
    """
    ledger = make()
    worker = start(ledger.path, "hold")
    worker.stdout.readline()
    worker.stdin.write("\n")
    worker.stdin.flush()
    assert worker.stdout.readline() == "held\n"
    [(reserved,)] = read(ledger.path, "SELECT total(usd) FROM reserve")
    alive = ledger.figures("daily", NOW, NOW).reserved
    os.kill(worker.pid, signal.SIGKILL)
    os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is a zombie
    left = ledger.figures("daily", NOW, NOW).reserved
    worker.communicate()

    assert (reserved, alive, left) == (0.013, 0.013, 0.0)


def test_a_forked_child_goes_on_by_itself(make):
    """
    The child opens the file anew, takes what is left, and what its parent was about to write stays the parent's.
    """
    ledger = make()
    held = ledger.reserve([ask(0.3)], NOW)
    ledger.settle(held, [0.2])
    ledger.before_fork()

    def child():
        ledger.start_over()
        ledger.settle(ledger.reserve([ask(0.1)], NOW), [0.1])
        ledger.write()
        return round(ledger.figures("daily", NOW, NOW).reserved, 6)

    reserved = in_child(child)
    ledger.after_fork()

    assert reserved == "0.3"
    assert ledger.figures("daily", NOW, NOW)[:4] == (NOW, pytest.approx(0.3), 0.0, 0.0)


def test_who_is_dead():
    """
    This process is not; one with its id that began at another time, or before the machine did, is; of one in another
    container, or that told nothing, nobody knows.
    """
    pid, known = os.getpid(), identity(os.getpid())
    boot, namespace, started = known.split(" ")

    assert not is_dead(pid, known)
    assert is_dead(pid, f"{boot} {namespace} {int(started) + 1}")
    assert is_dead(pid, f"other {namespace} {started}")
    assert not is_dead(pid, f"{boot} other {started}")
    assert not is_dead(pid, "")


# What may be wrong with the file


def test_a_broken_file_is_set_aside(make, told):
    """
    It is renamed, told of once, and a new one begins; who blocks is refused until its period ends, who warns counts on.
    """
    ledger = make()
    ledger.settle(ledger.reserve([ask()], NOW), [0.7])
    ledger.close()
    ledger.path.write_bytes(b"this is no database" * 100)
    others = make(ledger.path)
    refused = ledger.reserve([ask()], NOW)
    warned = ledger.reserve([ask(blocks=False)], NOW)
    also_refused = others.reserve([ask()], NOW)
    later = ledger.reserve([ask(start=NOW + DAY)], NOW + DAY)
    broken = [path for path in ledger.path.parent.iterdir() if ".broken-" in path.name]

    assert (refused.is_lost, also_refused.is_lost) == (True, True)
    assert [len(held) for held in (warned, later)] == [1, 1]
    assert [path.read_bytes()[:19] for path in broken] == [b"this is no database"]
    assert [news for news in told if isinstance(news, str)] == ["lost"]


@pytest.mark.parametrize("size", [0, 1, 2, 16, 99])
@pytest.mark.parametrize("while_open", [False, True])
def test_a_file_that_was_emptied_is_set_aside(make, told, size, while_open):
    """
    SQLite takes a file of 0 or 1 bytes for a new one; what was spent would be forgotten and nobody told.
    """
    ledger = make()
    ledger.settle(ledger.reserve([ask()], NOW), [0.7])
    ledger.write()
    if not while_open:
        ledger.close()
    else:
        with sqlite3.connect(ledger.path) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()
    whole = ledger.path.read_bytes()
    ledger.path.unlink()
    ledger.path.write_bytes(whole[:size])
    refused = ledger.reserve([ask()], NOW)
    aside = [path for path in ledger.path.parent.iterdir() if ".broken-" in path.name]
    broken = [path for path in aside if not path.name.endswith(("-wal", "-shm"))]

    assert refused.is_lost
    assert [whole[:size]] == [path.read_bytes() for path in broken]
    assert ["lost"] == [news for news in told if isinstance(news, str)]


def test_a_file_that_is_being_made_is_never_taken_for_damaged(make, told):
    """
    However many open a ledger that is not there yet at the same moment, one makes it and nobody finds it empty.
    """
    ledgers = [make() for _ in range(16)]
    start = Barrier(16)

    def reserve(ledger):
        start.wait()
        return ledger.reserve([ask(0.01)], NOW)

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(reserve, ledgers))

    assert [1] * 16 == [len(held) for held in found]
    assert [] == [news for news in told if isinstance(news, str)]
    assert [] == [name for name in os.listdir(ledgers[0].path.parent) if ".new" in name or ".broken" in name]


# Column -> what somebody may write into it that is no figure of ours.
EDITS = {
    "usd": ["'a lot'", "-1", "x'00'", "9e999", "-9e999"],
    "estimated_usd": ["'a lot'", "-1", "x'00'", "9e999"],
    "period_start": ["'today'", "9e15", "x'00'"],
    "told": ["'yes'", "x'00'"],
    "began": ["'today'", "x'00'"],
}
RESERVED = {"usd": ["-1", "9e999"], "pid": ["'me'", "x'00'", "9e18"], "pid_start": ["x'00'", "''"], "at": ["'now'"]}


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        *(("spent", column, value) for column, values in EDITS.items() for value in values),
        *(("reserve", column, value) for column, values in RESERVED.items() for value in values),
    ],
)
def test_a_row_that_was_edited_by_hand_is_told_of(make, told, table, column, value):
    """
    Whatever is in a row, a question is answered, or the file is called unusable and told of; nothing else is raised.
    """
    ledger = make()
    ledger.settle(ledger.reserve([ask()], NOW), [0.25])
    ledger.reserve([ask(limit=0.5)], NOW)
    ledger.write()
    read(ledger.path, f"UPDATE {table} SET {column} = {value}")
    failed = 0
    for question in (
        lambda: ledger.figures("daily", NOW, NOW + 2 * DAY),
        lambda: ledger.reserve([ask(0.4, 0.5)], NOW),
        lambda: ledger.current_refusal(ask(0.0)),
        ledger.write,
    ):
        try:
            question()
        except UnavailableError:
            failed += 1

    assert (["unavailable"] if failed else []) == [news for news in told if isinstance(news, str)]
    assert failed > 0 or (table, column) not in {("spent", "usd"), ("spent", "period_start")}


def test_a_user_without_a_home_is_told_what_to_set(make, told, tmp_path, monkeypatch):
    """
    A `~` that nobody can resolve is no folder of that name.
    """
    monkeypatch.chdir(tmp_path)
    ledger = make(file_of("~/.local/state/obskit", "shop"))
    with pytest.raises(UnavailableError, match="no home folder: set state_dir"):
        ledger.reserve([ask()], NOW)

    assert [] == list(tmp_path.iterdir())
    assert ["unavailable"] == [news for news in told if isinstance(news, str)]


def test_a_file_that_breaks_while_it_is_open_is_set_aside_once(make, told):
    """
    Two that have it open find out, and the second takes the new file for what it is.
    """
    ledgers = [make(), make()]
    for ledger in ledgers:
        ledger.reserve([ask()], NOW)
    path = ledgers[0].path
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    path.write_bytes(b"x" * path.stat().st_size)
    found = [ledger.reserve([ask(blocks=False)], NOW) for ledger in ledgers * 2]

    assert [len(held) for held in found] == [1, 1, 1, 1]
    assert [news for news in told if isinstance(news, str)] == ["lost"]
    assert len([name for name in os.listdir(path.parent) if ".broken-" in name and name[-1].isdigit()]) == 1


def test_a_file_that_was_removed_begins_anew(make):
    """
    An operator who removes the file starts every budget at 0, also in processes that have it open.
    """
    ledger = make()
    ledger.settle(ledger.reserve([ask()], NOW), [0.7])
    ledger.write()
    for path in list(ledger.path.parent.iterdir()):
        path.unlink()

    assert ledger.figures("daily", NOW, NOW).spent == 0.0


def test_a_locked_file_is_told_of_once(make, told, monkeypatch):
    """
    Who cannot get at it is told why, each time; the event comes once until it works again.
    """
    monkeypatch.setattr("obskit.storage.own_sqlite.BUSY_SECONDS", 0.01)
    ledger = make()
    held = ledger.reserve([ask()], NOW)
    other = sqlite3.connect(ledger.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    ledger.close()
    for _ in range(2):
        with pytest.raises(UnavailableError, match="database is locked"):
            ledger.reserve([ask()], NOW)
    ledger.settle(held, [0.05])
    with pytest.raises(UnavailableError):
        ledger.write()
    other.close()

    assert ledger.figures("daily", NOW, NOW)[:4] == (NOW, 0.05, 0.0, 0.0)
    assert told == ["unavailable"]


def test_a_directory_that_cannot_be_is_told_of(make, told, tmp_path):
    """
    Where the directory cannot be made, whoever asks is told why.
    """
    (tmp_path / "file").write_text("in the way")
    ledger = make(file_of(tmp_path / "file" / "state", "shop"))
    with pytest.raises(UnavailableError, match="cannot be used"):
        ledger.reserve([ask()], NOW)

    assert told == ["unavailable"]


def test_a_newer_format_is_left_alone(make):
    """
    A file of a later version is no broken one: it stays as it is.
    """
    ledger = make()
    ledger.reserve([ask()], NOW)
    ledger.close()
    with sqlite3.connect(ledger.path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(UnavailableError, match="newer version"):
        ledger.reserve([ask()], NOW)

    assert [name for name in os.listdir(ledger.path.parent) if ".broken" in name] == []


def test_an_older_format_is_brought_up_to_date(make):
    """
    A file of before the replies that come later keeps what was spent, and knows them from then on.
    """
    ledger = make()
    ledger.settle(ledger.reserve([ask()], NOW), [0.05])
    ledger.close()
    with sqlite3.connect(ledger.path) as db:
        db.executescript("DROP TABLE awaited; PRAGMA user_version = 1")
    db.close()
    ledger.expect_reply("resp_1", ("night", "openai", "gpt-5"), ())
    ledger.write()

    assert ledger.figures("daily", NOW, NOW).spent == 0.05
    assert ledger.pending_reply("resp_1", may_wait=True) == (("night", "openai", "gpt-5"), (), False)


def test_what_a_reply_cost_is_spent_once(make):
    """
    Whoever tells it first among all processes; the others give back what they hold.
    """
    one, other = make(), make()
    held = one.reserve([ask()], NOW)
    one.expect_reply("resp_1", ("", "openai", "gpt-5"), held)
    one.write()
    known = other.pending_reply("resp_1", may_wait=False)
    for ledger, cost in ((other, 0.04), (one, 0.03)):
        ledger.settle(known.amounts, [cost], name="resp_1")
        ledger.write()

    assert known.amounts == held
    assert one.figures("daily", NOW, NOW)[1:4] == (0.04, 0.0, 0.0)
    assert one.pending_reply("resp_1", may_wait=True).is_reported


def test_the_oldest_replies_are_forgotten(make, monkeypatch):
    """
    However many come, told or not, the file stays small.
    """
    monkeypatch.setattr("obskit.ai.budget_rows.MAX_PENDING_REPLIES", 10)
    ledger = make()
    for number in range(30):
        ledger.expect_reply(f"resp_{number}", ("", "openai", "gpt-5"), ())
        ledger.settle((), [], name=f"other_{number}")
    ledger.write()

    names = [f"{kind}_{number}" for number in range(30) for kind in ("resp", "other")]
    known = [name for name in names if ledger.pending_reply(name, may_wait=True) is not None]
    assert known == names[-10:]


@pytest.mark.parametrize(("column", "value"), [("labels", "no JSON"), ("held", '[["x"]]'), ("held", "{")])
def test_a_reply_s_row_that_was_edited_by_hand_is_told_of(make, told, column, value):
    """
    What cannot be read is not known, and said once.
    """
    ledger = make()
    ledger.expect_reply("resp_1", ("", "openai", "gpt-5"), ())
    ledger.write()
    with sqlite3.connect(ledger.path) as db:
        db.execute(f"UPDATE awaited SET {column} = ?", (value,))
    db.close()
    for may_wait in (True, False):
        with pytest.raises(UnavailableError):
            ledger.pending_reply("resp_1", may_wait=may_wait)

    assert told == ["unavailable"]


def test_a_link_in_place_of_the_file_is_refused(make, tmp_path):
    """
    Nobody can make us write through a link that was put there.
    """
    path = file_of(tmp_path / "state", "shop")
    path.parent.mkdir(parents=True)
    (tmp_path / "other").write_text("")
    path.symlink_to(tmp_path / "other")
    with pytest.raises(UnavailableError):
        make(path).reserve([ask()], NOW)


def test_memory_is_told_of_once(make, told, monkeypatch):
    """
    A directory that goes with the container or the machine is told of once.
    """
    monkeypatch.setattr("obskit.storage.own_sqlite.filesystem_of", lambda path: "tmpfs")
    ledger = make()
    for _ in range(2):
        ledger.reserve([ask()], NOW)
        ledger.close()

    assert told == ["ephemeral"]
