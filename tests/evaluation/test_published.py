from fo1.evaluation.published import _PUBLISHED, published
from fo1.evaluation.tasks import TASKS


def test_every_table_belongs_to_a_task_and_holds_percentages() -> None:
    assert set(_PUBLISHED) <= set(TASKS)
    for models in _PUBLISHED.values():
        for figures in models.values():
            assert figures
            assert all(0 < value <= 100 for value in figures.values())


def test_figures_of_the_method_stand_where_the_paper_has_them() -> None:
    own = {task: models.get("VLM-FO1-3B") for task, models in _PUBLISHED.items()}
    assert own["coco"] == {"AP": 44.4}
    detector = {task: models.get("Grounding DINO", {}) for task, models in _PUBLISHED.items()}
    assert (detector["coco"], detector["odinw13"]) == ({"AP": 52.5}, {"AP": 55.7})
    assert detector["refcoco-testA"] == {"accuracy": 93.2}
    assert own["ovdeval"] == {"NMS-AP": 43.7}
    assert own["refcoco+-testB"] == {"accuracy": 80.57}
    assert own["refcocog-test"] == {"accuracy": 88.34}
    assert own["humanref"] == {"P": 86.6, "R": 82.2, "DF1": 81.9}
    assert own["paco-regions"] == {"SS": 88.1, "S-IoU": 77.6}
    assert own["odinw13-present"] is None  # it is scored without that help
    assert published("pope") == {}
