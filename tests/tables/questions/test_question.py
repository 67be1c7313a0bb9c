"""Questions that a density of a target refuses."""

from __future__ import annotations

import pytest
from frames import clinic

from flows.core.errors import UserError
from flows.tables.questions.score import Score


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda d: d.sample(3), "is conditional: give values of other columns"),
        (lambda d: d.impute(clinic(20)), "column dose is not a target, so its values cannot"),
        (lambda d: d.predict(clinic(3), "age"), "column age is not a target"),
        (lambda d: d.log_prob(clinic(3), given=["age"]), "conditional on all other columns"),
    ],
)
def test_questions_without_a_meaning_name_the_alternative(of_visits, ask, message):
    with pytest.raises(UserError, match=message):
        ask(of_visits)


def test_targets_are_drawn_for_rows_that_hold_them(of_visits):
    drawn = of_visits.sample(given=clinic(20))
    assert (drawn["age"] == clinic(20)["age"]).all()
    without = of_visits.sample(given=clinic(20).drop(columns="visits"))
    assert drawn["visits"].tolist() == without["visits"].tolist()
    assert (drawn["visits"] != clinic(20)["visits"]).any()


def test_a_known_value_of_the_predicted_column_is_refused(of_pressures):
    with pytest.raises(UserError, match="given: age is predicted; leave it out, or give a range"):
        of_pressures.predict(column="age", given={"age": 30.0})


def test_a_question_may_refuse_more(of_visits):
    class OfAdults(Score):
        def refuse(self, density, region):
            super().refuse(density, region)
            if (region.rows[:, density.schema.find("age")] < 18).any():
                raise UserError("a row is of a child")

    assert len(of_visits.ask(OfAdults(), clinic(3).assign(age=30.0))) == 3
    with pytest.raises(UserError, match="a row is of a child"):
        of_visits.ask(OfAdults(), clinic(3).assign(age=[30.0, 40.0, 17.0]))
    with pytest.raises(UserError, match="conditional on all other columns"):
        of_visits.ask(OfAdults(given=["age"]), clinic(3).assign(age=17.0))
