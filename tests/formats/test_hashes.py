from fo1.formats.hashes import hash_files, hash_model


def test_a_hash_changes_with_name_and_content_only(tmp_path) -> None:
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    first.write_text("one")
    second.write_text("two")
    both = hash_files([first, second])
    assert both == hash_files([second, first, first])
    assert len(both) == 64
    second.write_text("twO")
    assert hash_files([first, second]) != both
    second.write_text("two")
    moved = second.rename(tmp_path / "c.json")
    assert hash_files([first, moved]) != both


def test_a_model_is_all_its_files_but_hidden_ones(tmp_path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/model.safetensors").write_bytes(b"weights")
    before = hash_model(tmp_path)
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache/etag").write_text("x")
    assert hash_model(tmp_path) == before
    (tmp_path / "config.json").write_text("{}")
    assert hash_model(tmp_path) != before
