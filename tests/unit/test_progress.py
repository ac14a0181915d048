import logging
from io import StringIO

from biolm_ray.experiment.progress import (
    Board,
    DataProgress,
    Display,
    ScoringProgress,
    Start,
    describe,
    describe_end,
    describe_estimate,
    noun_of_predictions,
    readable_time,
)


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_a_board_keeps_the_newest_value_of_everything():
    board = Board()
    board.report("fold 0", {"progress": 0.5, "train_loss": 2.0})
    board.report("fold 0", {"progress": 1.0, "eval_loss": 1.0})
    assert board.news()[0] == {"fold 0": {"progress": 1.0, "train_loss": 2.0, "eval_loss": 1.0}}


def test_a_board_gives_each_note_once():
    board = Board()
    board.report("fold 0", {"note": "the first checkpoint is damaged"})
    board.report("fold 1", {"progress": 0.5})
    assert board.news()[2] == [("fold 0", "the first checkpoint is damaged")]
    assert board.news()[2] == []
    assert board.news()[0]["fold 1"] == {"progress": 0.5}


def test_an_estimate_counts_the_folds_that_must_wait_for_others():
    tried = {"seconds_per_epoch": 40.0, "memory_gb": 1.24}
    assert describe_estimate(tried, 12, 10, 4) == (
        "estimate: 40 s an epoch, 1.2 GB per worker; "
        "at most 24 min 0 s for all 10 models, 4 at a time"
    )
    assert describe_estimate(tried, 3, 1, 1).endswith("at most 2 min 0 s for the model")
    quick = {**tried, "seconds_per_epoch": 0.01}
    assert describe_estimate(quick, 3, 1, 1).endswith("; less than a second for the model")
    assert describe_estimate(tried, 3, 2, 2).endswith("at most 2 min 0 s for both models")


def test_a_board_keeps_the_nodes_of_the_newest_attempt():
    board = Board()
    for attempt, node in [(1, "a"), (2, "b"), (1, "late"), (2, "c")]:
        board.start("fold 0", attempt, node, f"worker {node}")
    workers = frozenset({"worker b", "worker c"})
    assert board.news()[1] == {"fold 0": Start(2, frozenset({"b", "c"}), workers)}


def test_what_is_written_in_between_is_not_drawn_over():
    stream = Terminal()
    display = Display(num_epochs=2, stream=stream)
    display.update({"fold 0": {"progress": 0.5}})
    display.interrupt()
    display.update({"fold 0": {"progress": 0.6}})
    assert "\x1b[1A" not in stream.getvalue()


def test_a_line_names_epoch_losses_and_time_left():
    line = describe("fold 3", {"progress": 1.5, "train_loss": 0.25, "eval_pearson": 0.5}, 4, 90)
    assert line == (
        "    fold 3  epoch  1.50/4  train loss 0.2500  eval pearson 0.5000  at most 1 min 30 s left"
    )


def test_validation_is_told_of_the_epoch_that_it_belongs_to():
    event = {"progress": 59.6, "epoch": 59.0, "eval_loss": 0.5, "eval_pearson": 0.25}
    event |= {"train_loss": 0.75}
    assert describe("fold 0", event, 60, None) == (
        "    fold 0  epoch 59.60/60  train loss 0.7500  "
        "after epoch 59: eval loss 0.5000  eval pearson 0.2500"
    )
    whole = describe("fold 0", {**event, "progress": 60.0, "epoch": 60.0}, 60, None)
    assert whole.endswith("train loss 0.7500  eval loss 0.5000  eval pearson 0.2500")


def test_the_epoch_that_was_chosen_is_told_at_the_end():
    metrics = {"epoch": 1.0, "epochs_trained": 60.0, "eval_loss": 0.5, "eval_pearson": 0.25}
    assert describe_end("fold 0", metrics) == (
        "fold 0: trained for 60 epochs, best after epoch 1: eval loss 0.5000, eval pearson 0.2500"
    )
    alone = {"epoch": 60.0, "epochs_trained": 60.0, "test_loss": 1.0}
    assert describe_end("model", alone) == "model: trained for 60 epochs"


def test_less_than_a_second_is_not_at_most_that():
    assert describe("fold 3", {"progress": 1.5}, 4, 0.2).endswith("  less than a second left")


def test_nothing_is_said_to_be_left_of_what_is_done(caplog):
    times = iter([0.0, 0.0, 20.0])
    progress = ScoringProgress(logging.getLogger("scoring"), clock=lambda: next(times))
    with caplog.at_level(logging.INFO, "scoring"):
        for num_done in (0, 44):
            progress(num_done, 44)
    assert caplog.messages == []


def test_without_a_terminal_a_line_appears_once_per_finished_epoch():
    stream = StringIO()
    display = Display(num_epochs=2, stream=stream)
    for event in ({"progress": 0.5}, {"progress": 1.0, "epoch": 1.0}, {"progress": 1.2}):
        display.update({"fold 0": {"epoch": 1.0, **event} if "epoch" in event else event})
    assert stream.getvalue().count("\n") == 1


def test_a_quiet_run_shows_nothing():
    stream = Terminal()
    Display(num_epochs=2, quiet=True, stream=stream).update({"fold 0": {"epoch": 1.0}})
    assert stream.getvalue() == ""


def test_on_a_terminal_lines_are_drawn_over():
    stream = Terminal()
    display = Display(num_epochs=2, stream=stream)
    display.update({"fold 0": {"progress": 0.5}, "fold 1": {"progress": 0.1}})
    display.update({"fold 0": {"progress": 0.6}, "fold 1": {"progress": 0.2}})
    assert stream.getvalue().count("\x1b[2A") == 1
    assert stream.getvalue().count("\x1b[2K") == 4


def test_the_time_left_follows_from_the_pace_so_far():
    times = iter([0.0, 30.0])
    stream = Terminal()
    display = Display(num_epochs=4, stream=stream, clock=lambda: next(times))
    display.update({"fold 0": {"progress": 1.0}})
    display.update({"fold 0": {"progress": 2.0}})
    assert "at most 1 min 0 s left" in stream.getvalue()


def test_durations_read_as_people_say_them():
    assert [readable_time(s) for s in (42.4, 200, 7500)] == ["42 s", "3 min 20 s", "2 h 5 min"]
    assert readable_time(0.4) == "less than a second"


def test_scoring_tells_rate_and_time_left_at_most_every_few_seconds(caplog):
    times = iter([0.0, 0.0, 5.0, 20.0])
    logger = logging.getLogger("scoring")
    progress = ScoringProgress(logger, clock=lambda: next(times))
    with caplog.at_level(logging.INFO, "scoring"):
        for num_done in (0, 5000, 20000):
            progress(num_done, 50000)
    assert [record.getMessage() for record in caplog.records] == [
        "20,000 of 50,000 positions, 1,000 a second, 30 s left"
    ]


def test_what_several_models_predict_is_not_called_rows():
    assert noun_of_predictions(22, 1) == "rows"
    assert noun_of_predictions(22, 2) == "predictions (22 rows, 2 models)"


def test_scoring_on_several_workers_tells_their_number(caplog):
    times = iter([0.0, 0.0, 20.0])
    logger = logging.getLogger("scoring")
    progress = ScoringProgress(logger, num_workers=3, clock=lambda: next(times))
    with caplog.at_level(logging.INFO, "scoring"):
        for num_done in (0, 2000):
            progress(num_done, 5000)
    assert [record.getMessage() for record in caplog.records] == [
        "2,000 of 5,000 positions, 100 a second on 3 workers, 30 s left"
    ]


def test_data_progress_tells_rate_and_time_left_and_in_the_end_how_long_it_took():
    lines: list[str] = []
    logger = logging.getLogger("test of data progress")
    logger.setLevel(logging.INFO)
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger.addHandler(handler)
    times = iter([0.0, 5.0, 10.0, 12.0, 20.0])
    progress = DataProgress(logger, StringIO(), clock=lambda: next(times))
    for num_bytes in (0, 25, 50, 60, 100):
        progress("reading", num_bytes * 10**6, 100 * 10**6, num_bytes)
    assert lines == [
        "reading: 50%, 50 rows, 5.0 MB/s, 10 s left",
        "reading: 100 rows in 20 s, 5.0 MB/s",
    ]


def test_data_progress_redraws_one_line_of_a_terminal_and_wipes_it():
    terminal = Terminal()
    times = iter([0.0, 0.5, 0.6, 0.9])
    progress = DataProgress(logging.getLogger("quiet"), terminal, clock=lambda: next(times))
    for num_bytes in (0, 10, 12, 20):
        progress("tokenizing", num_bytes, 20, num_bytes)
    assert terminal.getvalue() == (
        f"\r\x1b[2Ktokenizing |{'█' * 12}{' ' * 12}| 50%, 10 rows, 0.0 MB/s, "
        "less than a second left\r\x1b[2K"
    )
