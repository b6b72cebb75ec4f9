"""Options in YAML files: how they combine with flags, and how they are refused."""

import pytest

from condense.cli.yaml_file import load_yaml
from tests.cli.option_script import Config, flags, refusal


def test_yaml_overrides_defaults_and_flags_override_yaml(yaml_file):
    path = yaml_file("ipc: 3\nlr_img: 0.5\nmodel: MLP\n")
    cfg = flags("--ipc", "9", "--config", path)
    assert (cfg.ipc, cfg.lr_img, cfg.model, cfg.init) == (9, 0.5, "MLP", Config.init)
    assert cfg.config == path


def test_flags_given_at_their_default_still_override_yaml(yaml_file):
    path = yaml_file("ipc: 3\ncompile: true\nprogress: false\n")
    cfg = flags("--config", path, "--ipc", "1", "--no-compile", "--progress")
    assert (cfg.ipc, cfg.compile, cfg.progress) == (1, False, True)


def test_yaml_values_are_converted_like_flags(yaml_file):
    cfg = flags("--config", yaml_file("lr_img: 1e-3\nlr_net: 1\nbatch_real: all\ncadence: 7\nim_size: null\n"
                                      "strategy: none\ncompile: yes\nseed: 18446744073709551617\n"))
    assert cfg.lr_img == 0.001                             # text to YAML, which wants 1.0e-3
    assert (cfg.lr_net, cfg.batch_real, cfg.cadence) == (1.0, "all", 7)
    assert isinstance(cfg.lr_net, float) and cfg.im_size is None and cfg.strategy == "none" and cfg.compile
    assert cfg.seed == 2**64 + 1


def test_null_is_the_word_none_where_words_are_expected(yaml_file):
    assert flags("--config", yaml_file("strategy:\n")).strategy == "none"
    assert flags("--config", yaml_file("limit: ~\n")).limit is None


@pytest.mark.parametrize("text, expected", [
    ("ipc: many", "ipc must be a whole number, not 'many'"),
    ("ipc: 2.5", "ipc must be a whole number, not 2.5"),
    ("ipc: true", "ipc must be a whole number, not True"),
    ("ipc: null", "ipc must be a whole number, not None"),
    ("ipc: [1, 2]", "ipc must be a whole number, not [1, 2]"),
    ("lr_img: fast", "lr_img must be a number, not 'fast'"),
    ("lr_img: .nan", "lr_img must be a number, not nan"),
    ("lr_img: .inf", "lr_img must be a number, not inf"),
    ("lr_img: {a: 1}", "lr_img must be a number"),
    ("compile: 1", "compile must be true or false, not 1"),
    ("compile: 'true'", "compile must be true or false, not 'true'"),
    ("model: 3", "model must be text, not 3"),
    ("ipc: 0", "ipc must be 1 or larger, not 0"),
    ("init: reel", "init: unknown value 'reel'; did you mean real?"),
    ("batch_real: al", "batch_real: unknown value 'al'; did you mean all?"),
])
def test_wrong_yaml_values_name_file_and_key(yaml_file, text, expected):
    path = yaml_file(text)
    assert refusal("--config", path).startswith(f"{path}: {expected}")


def test_unknown_yaml_keys_suggest_the_nearest(yaml_file):
    path = yaml_file("lr_images: 1\n")
    assert refusal("--config", path).startswith(f"{path}: unknown key 'lr_images'; did you mean lr_img?")
    assert "unknown key 5" in refusal("--config", yaml_file("5: 1"))
    assert "unknown key 'config'" in refusal("--config", yaml_file("config: other.yaml"))


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "---\n", "{}"])
def test_empty_yaml_changes_nothing(yaml_file, text):
    path = yaml_file(text)
    assert flags("--config", path) == Config(config=path)


@pytest.mark.parametrize("text", ["ipc: [1\n", "ipc: 3\n  lr_img: : 4\n", "a: b: c", "\t- x", "{[}",
                                  b"ipc: \xff\xfe\x00", b"\x00\x01\x02", "!!python/object:os.system {}",
                                  "? [ipc]\n: 3"])
def test_what_is_not_yaml_is_refused_in_one_line(yaml_file, text):
    path = yaml_file(text)
    assert path in refusal("--config", path)


def test_malformed_yaml_names_its_line(yaml_file):
    assert " line 2 is not YAML" in refusal("--config", yaml_file("ipc: 3\nlr_img: a: b\n"))


@pytest.mark.parametrize("text", ["- ipc\n- 3\n", "just words", "12"])
def test_yaml_that_holds_no_options_is_refused(yaml_file, text):
    assert "holds no options" in refusal("--config", yaml_file(text))


def test_missing_yaml_and_folders_are_refused(tmp_path):
    assert "No such file" in refusal("--config", str(tmp_path / "absent.yaml"))
    assert str(tmp_path) in refusal("--config", str(tmp_path))


def test_yaml_is_read_as_utf8_whatever_the_locale(yaml_file, monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")
    assert load_yaml(Config, yaml_file("save_path: données\n")) == {"save_path": "données"}
