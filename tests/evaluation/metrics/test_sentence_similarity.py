"""The sentence model, by a tiny random BERT."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizer

from fo1.errors import InputError
from fo1.evaluation.metrics import sentence_similarity
from fo1.evaluation.metrics.sentence_similarity import (
    VARIABLE,
    SentenceEncoder,
    find_sentence_model,
)

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "cup", "dog", "table"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("sentences")
    return make_sentence_model(path)


def make_sentence_model(path: Path) -> Path:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=40,
        initializer_range=0.5,
    )
    BertModel(config).save_pretrained(path)
    (path / "vocab.txt").write_text("\n".join(VOCABULARY))
    BertTokenizer(str(path / "vocab.txt")).save_pretrained(path)
    return path


def oracle(folder: Path, sentence: str) -> np.ndarray:
    """The mean of the last states over the tokens of one sentence alone, of length 1."""
    model = BertModel.from_pretrained(folder).eval()
    known = {word: at for at, word in enumerate(VOCABULARY)}
    ids = [2, *(known.get(word, 1) for word in sentence.lower().split()), 3]
    with torch.no_grad():
        states = model(torch.tensor([ids])).last_hidden_state[0].numpy()
    mean = sum(states.astype(float)) / len(ids)
    return mean / np.sqrt((mean**2).sum())


def test_embeddings_are_means_over_the_tokens_whatever_is_asked_beside(folder: Path) -> None:
    sentences = ["cup", "a red cup", "DOG on table", "cup", ""]
    found = SentenceEncoder(folder)(sentences)
    assert found.shape == (5, 16)
    for sentence, row in zip(sentences, found, strict=True):
        assert row == pytest.approx(oracle(folder, sentence), abs=1e-5)


def test_similarity(folder: Path) -> None:
    encoder = SentenceEncoder(folder)
    found = encoder.similarity(["red cup", "dog", "", " "], ["Red cup", "table", "cup", "cup"])
    assert found[0] == pytest.approx(1)
    assert found[1] == pytest.approx(oracle(folder, "dog") @ oracle(folder, "table"), abs=1e-5)
    assert found[1] < 0.99
    assert found[2:].tolist() == [0, 0]
    assert encoder.similarity([], []).shape == (0,)


def test_a_very_long_answer_is_cut_at_what_the_model_can_read(folder: Path) -> None:
    encoder = SentenceEncoder(folder)
    long = encoder(["cup " * 12_500])[0]
    assert long == pytest.approx(encoder(["cup " * 38])[0], abs=1e-5)


def test_the_model_of_the_environment_is_taken(folder, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv(VARIABLE, str(folder))
    assert find_sentence_model() == folder
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"nowhere.*no folder.*hf download"):
        find_sentence_model()


def test_nothing_is_downloaded(monkeypatch, tmp_path) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    asked: list[dict] = []

    def missing(name: str, **options) -> str:
        asked.append(options)
        raise FileNotFoundError(name)

    monkeypatch.setattr(sentence_similarity, "snapshot_download", missing)
    with pytest.raises(InputError, match="all-MiniLM-L6-v2 is not on this machine; run `hf"):
        find_sentence_model()
    assert asked == [{"local_files_only": True}]


def test_a_folder_without_a_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no sentence model"):
        SentenceEncoder(tmp_path)
