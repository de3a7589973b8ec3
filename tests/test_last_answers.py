"""What `last_decision()` and `Guard.last()` give of an earlier answer."""

from guardrail import Prediction, guard_of, guarded, last_decision


def test_an_earlier_prediction_is_a_prediction_again():
    """A function that returns a Prediction has one in its latest decisions too, not the pair that the record keeps."""

    @guarded(name="predicts")
    def predict(x: int) -> Prediction[str]:
        return Prediction("refuse", 0.6)

    predict(1)
    assert last_decision().value == Prediction("refuse", 0.6)
    assert guard_of(predict).last(1)[0].value == Prediction("refuse", 0.6)


def test_an_earlier_pair_stays_a_pair():
    """A function that returns (value, confidence) has that in its latest decisions."""

    @guarded(name="pairs")
    def predict(x: int) -> tuple[str, float]:
        return ("refuse", 0.6)

    predict(1)
    assert last_decision().value == ("refuse", 0.6)
