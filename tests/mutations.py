"""Breaks of the code that the tests must notice: each takes one of the pillars of design section 3 away.

test_mutations.py applies each to a copy of the project and sees its test fail. A change of a line that is named here
changes it here, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Edit:
    """`before`, which stands in `file` exactly once, becomes `after`."""

    file: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Mutation:
    """What is removed, how, and the test (a node id) that must fail then."""

    name: str
    test: str
    edits: list[Edit] = field(default_factory=list)
    waits: bool = False
    """Its test fails by waiting for what does not come, which takes long: not in every run of the suite."""


MUTATIONS = [
    Mutation(
        "fence",
        "tests/runs/test_promises.py::test_p4_one_writer_wins",
        [
            Edit(
                "runs/progress.py",
                "WHERE id = %s AND epoch = %s AND status IN ('in_progress', 'cancelling')",
                "WHERE id = %s AND %s >= 0 AND status IN ('in_progress', 'cancelling')",
            )
        ],
    ),
    Mutation(
        "fence of the last word",
        "tests/runs/test_promises.py::test_p4_one_writer_wins",
        [Edit("runs/transitions.py", "(guard if epoch is None else guard.filter(epoch=epoch))", "guard")],
    ),
    Mutation(
        "unique index: one active run of a thread",
        "tests/runs/test_promises.py::test_p5_holds_in_the_database_itself",
        [
            Edit(
                "runs/migrations/0001_initial.py",
                "('status__in', ('queued', 'in_progress', ",
                "('status__in', ('none', 'never', ",
            )
        ],
    ),
    Mutation(
        "safety poll",
        "tests/streaming/test_promises.py::test_p8_a_silent_layer_costs_a_lone_follower_time_and_nothing_else",
        [Edit("streaming/follow.py", "self.learn(await ask(asked), asked)", "await ask(asked)")],
        waits=True,
    ),
    Mutation(
        "persist before publish",
        "tests/streaming/test_promises.py::test_p1_a_bell_carries_only_what_is_committed",
        [
            Edit(
                "streaming/journal.py",
                "transaction.on_commit(partial(broker.ring, entries), robust=True)",
                "partial(broker.ring, entries)()",
            )
        ],
    ),
    Mutation(
        "subscribe before read",
        "tests/streaming/test_promises.py::test_p8_events_between_reading_and_listening_are_not_lost",
        [
            Edit(
                "streaming/follow.py",
                "    async with here.join(thread_id) as watched:\n        follower = Follower(watched, cursor)\n",
                "    early = Follower(Watched(thread_id), cursor)\n    if first := await early.batch():\n"
                "        yield first\n    async with here.join(thread_id) as watched:\n"
                "        follower = Follower(watched, early.cursor)\n        follower._behind = False\n",
            )
        ],
        waits=True,
    ),
]
