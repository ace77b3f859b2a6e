"""Ranking, scores, and an index that follows its table whatever happens to it."""

from __future__ import annotations

import pytest
from django.db import connection
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from assistants.models import Chunk, File, FileStatus, Project, Purpose, VectorStore, VectorStoreFile
from assistants.retrieval import index
from assistants.retrieval.chunk import Slice
from assistants.retrieval.search import Passage, search
from assistants.retrieval.words import pairs_of, terms_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Project:
    return Project.objects.create(name="Search")


@pytest.fixture
def store(project: Project) -> VectorStore:
    return VectorStore.objects.create(project=project)


def put(
    store: VectorStore, name: str, *passages: str, status: FileStatus = FileStatus.COMPLETED, file: File | None = None
) -> VectorStoreFile:
    file = file or File.objects.create(project=store.project, filename=name, purpose=Purpose.ASSISTANTS)
    store_file = VectorStoreFile.objects.create(
        vector_store=store, file=file, status=status, attributes={"team": "north"}
    )
    index.add_passages(store_file.pk, 0, map(Slice, passages))
    return store_file


def names(passages: list[Passage]) -> list[str]:
    return [passage.filename for passage in passages]


def check_index() -> None:
    """SQLite compares every row of the table with the index, both ways; a difference raises.

    PostgreSQL generates its column itself: there is nothing that could differ.
    """
    if connection.vendor != "sqlite":
        return
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO assistants_chunk_fts(assistants_chunk_fts, rank) VALUES ('integrity-check', 1)")


def test_best_passage_first_with_what_a_step_shows(store: VectorStore) -> None:
    put(store, "tides.txt", "High tide comes twice a day.", "The harbour master keeps the tide tables.")
    put(store, "menu.txt", "Soup of the day and bread.")

    first, second = search([store.id], "Who keeps the tide tables?")

    assert first.text == "The harbour master keeps the tide tables."
    assert (first.filename, first.store_id, first.position) == ("tides.txt", store.id, 1)
    assert first.attributes == {"team": "north"}
    assert 0 < second.score < first.score <= 1


def test_best_score_does_not_depend_on_how_much_is_stored(store: VectorStore) -> None:
    put(store, "one.txt", "The lighthouse burns whale oil.")
    alone = search([store.id], "lighthouse oil")[0].score
    for number in range(60):
        put(store, f"filler{number}.txt", f"Ledger page {number} lists barrels, ropes and sails.")
    crowded = search([store.id], "lighthouse oil")[0].score

    assert alone == crowded > 0.9


def test_a_passage_with_part_of_the_question_scores_less(store: VectorStore) -> None:
    put(store, "all.txt", "The red kite needs a long tail.")
    put(store, "part.txt", "A kite is a bird of prey.")

    full, part = search([store.id], "red kite tail")

    assert full.filename == "all.txt"
    assert part.score < full.score / 2


def test_the_best_score_says_how_much_of_the_question_is_held(store: VectorStore) -> None:
    put(store, "a.txt", "The red kite needs a long tail.")
    assert search([store.id], "red kite zeppelin")[0].score == pytest.approx(2 / 3, abs=1e-3)


def test_words_side_by_side_weigh_more(store: VectorStore) -> None:
    put(store, "apart.txt", "The dragon sleeps. A later project repairs the roof, and project money is short.")
    put(store, "together.txt", "Notes on many things, among them Project Dragon, and other news of the week.")

    assert names(search([store.id], "Tell me about 'Project Dragon'"))[0] == "together.txt"


def test_inflected_words_match(store: VectorStore) -> None:
    put(store, "a.txt", "Invoices are paid monthly.")
    assert search([store.id], "paying an invoice")


def test_marks_signs_and_words_of_every_kind_match(store: VectorStore) -> None:
    put(store, "a.txt", "Das Café-Konzept: see https://example.org/menu/teapot.html, don't wait; costs_2024 and 42%.")
    for query in (
        "cafe",
        "CAFÉ",
        "konzept",
        "teapot",
        "example",
        "don't",
        "costs",
        "2024",
        "42",
        "what is it about and",
    ):
        assert search([store.id], query), query
    assert not search([store.id], "tea")


def test_a_file_is_found_by_its_name(store: VectorStore) -> None:
    put(store, "harvest-report.md", "Forty tonnes, a little less than last year.", "Rain in May.")
    put(store, "other.md", "Forty winks.")

    found = search([store.id], "What does harvest_report say?")

    assert names(found) == ["harvest-report.md"]
    assert found[0].position == 0
    assert found[0].score == pytest.approx(0.5)


def test_threshold_and_limit(store: VectorStore) -> None:
    for number in range(6):
        put(store, f"{number}.txt", "apple " * (number + 1) + "pear")
    scores = [passage.score for passage in search([store.id], "apple plum")]
    middle = scores[3]

    assert len(scores) == 6
    assert len(search([store.id], "apple plum", limit=2)) == 2
    kept = [passage.score for passage in search([store.id], "apple plum", score_threshold=middle)]
    assert kept == [score for score in scores if score >= middle] != scores


def test_a_file_in_two_stores_is_found_in_each(project: Project, store: VectorStore) -> None:
    other = VectorStore.objects.create(project=project)
    file = put(store, "shared.txt", "The bell tower leans.").file
    put(other, "shared.txt", "The bell tower leans.", file=file)

    found = search([store.id, other.id], "bell tower")

    assert {passage.store_id for passage in found} == {store.id, other.id}
    assert {passage.file_id for passage in found} == {file.id}


def test_only_the_named_stores(project: Project, store: VectorStore) -> None:
    other = VectorStore.objects.create(project=project)
    put(other, "secret-plan.txt", "The secret plan.")
    assert search([store.id], "secret plan") == []
    assert search([], "secret plan") == []


@pytest.mark.parametrize("status", [FileStatus.IN_PROGRESS, FileStatus.FAILED, FileStatus.CANCELLED])
def test_only_completed_files(store: VectorStore, status: FileStatus) -> None:
    put(store, "draft.txt", "A draft of the draft.", status=status)
    assert search([store.id], "draft") == []


def test_no_ghosts_after_cascades(project: Project, store: VectorStore) -> None:
    other = VectorStore.objects.create(project=project)
    kept = put(store, "kept.txt", "A walrus stays.")
    by_file = put(store, "by-file.txt", "A walrus goes.")
    by_store = put(other, "by-store.txt", "A walrus leaves.")
    detached = put(store, "detached.txt", "A walrus departs.")

    by_file.file.delete()
    other.delete()
    detached.delete()
    Chunk.objects.filter(store_file=kept).update(text="A walrus naps.")

    check_index()
    assert index.best_matches(VectorStoreFile.objects.all(), [("walrus",)], 10).keys() == {kept.chunks.get().pk}
    assert index.holders(("stays",), [kept.chunks.get().pk]) == set()
    assert by_store.pk is not None


def test_no_ghosts_after_a_project_is_deleted(project: Project, store: VectorStore) -> None:
    put(store, "a.txt", "One.", "Two.")
    project.delete()
    check_index()
    documents = "assistants_chunk_fts_docsize" if connection.vendor == "sqlite" else "assistants_chunk"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {documents}")
        assert cursor.fetchone() == (0,)


def test_passages_are_removed_in_batches(store: VectorStore) -> None:
    store_file = put(store, "long.txt", *[f"Line {number}" for number in range(7)])
    kept = put(store, "kept.txt", "Line")
    assert [index.remove_passages(store_file.pk, 3) for _ in range(4)] == [3, 3, 1, 0]
    assert set(Chunk.objects.values_list("store_file_id", flat=True)) == {kept.pk}
    check_index()


@given(query=st.text(st.characters(), max_size=200))
@example(query='" OR text:* NEAR(a b, 3) ^x -y')
@example(query="it's \"the")
@example(query="\x00\ud800 %s %% 'quoted' ;--")
@example(query="dragon " * 2_000)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_a_legal_query(store: VectorStore, query: str) -> None:
    if not store.store_files.exists():
        put(store, "dragon.txt", "A dragon, it's quoted.")
    for passage in search([store.id], query):
        assert 0 <= passage.score <= 1


def test_questions_lose_what_says_nothing() -> None:
    question = "Summarize 'Project Dragon' based on all available files"
    assert terms_of(question) == ["project", "dragon"]
    assert pairs_of(question) == [("project", "dragon")]
    assert terms_of("What's the dragon’s budget?") == ["dragon", "budget"]
    assert terms_of("What is it about?") == ["what", "is", "it", "about"]
    assert terms_of("?!…") == []
