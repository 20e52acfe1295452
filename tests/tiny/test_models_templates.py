"""One render at loading tells a chat template that would lose the schema or the question, and a missing end token."""

import json
import shutil
from pathlib import Path

import pytest

from common.data import Example
from common.models import load_model, locate
from common.profiles import TINY_MODEL
from common.prompts import check_tokenizer, completion_ids, render
from common.settings import UserError

EXAMPLE = Example("x", 'How many "rows"\nhas t?', "CREATE TABLE t (a TEXT DEFAULT '<é>');", "SELECT count(*) FROM t;")
TURN = "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
EACH = "{% for m in messages %}" + TURN + "{% endfor %}"
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
ALTERNATE = "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception("
ALTERNATE += "'Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
SYSTEM_ROLE = "take a model whose template has a system role"


@pytest.fixture
def folder(tmp_path) -> Path:
    """The tiny model in a folder of one's own."""
    return Path(shutil.copytree(locate(TINY_MODEL)[0], tmp_path / "mine"))


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as error:
        load_model(str(folder))
    message = str(error.value)
    assert str(folder) in message and "\n" not in message and len(message) < 500
    return message.replace(str(folder), "mine")


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (NO_SYSTEM + EACH + "<|im_start|>model\n", "System role not supported"),
        (ALTERNATE + "[INST] {{ m.content }} [/INST]{% endfor %}", "Conversation roles must alternate user/assistant"),
        ("{% for m in messages %}{{ m.content }", "unexpected '}'"),
        ("{% for m in messages %}{{ m.content }}", "Unexpected end of template."),
        ("{{ messages[0].content | nonsense }}", "No filter named 'nonsense'."),
        ("{{ messages[0].tools[0].name }}", "has no attribute 'tools'"),
        ("{{ strange(messages) }}", "'strange' is undefined"),
        ("{{ raise_exception('one\ntwo') }}", "one two"),
        ("{{ raise_exception('') }}", "TemplateError"),
        ("{{ 1 // 0 }}", "zero"),
    ],
)
def test_a_template_that_fails_is_one_line_at_loading(folder, template, reason):
    (folder / "chat_template.jinja").write_text(template)
    message = refusal(folder)
    assert message.startswith("the chat template of mine fails on a system message (") and reason in message
    assert message.endswith(f"); {SYSTEM_ROLE}")


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{% if m.role == 'user' %}" + TURN + "{% endif %}{% endfor %}<|im_start|>assistant\n",
        "{% for m in messages %}{% for part in m.content %}{{ part.text }}{% endfor %}{% endfor %}",
        "{% for m in messages %}{{ m.content[0].text }}{% endfor %}",
        "{{ messages[-1].content }}",
        "{% for m in messages %}{{ m.content[:120] }}{% endfor %}",
        "{% for m in messages %}{{ m.content | tojson }}{% endfor %}",
        "{% for m in messages %}{{ m.content | e }}{% endfor %}",
        "{% for m in messages %}{{ m.content | lower }}{% endfor %}",
        "<|im_start|>assistant\n",
    ],
    ids=["user turns", "parts", "first part", "last turn", "cut", "JSON", "escaped", "lower case", "none"],
)
def test_a_template_that_loses_the_schema_is_one_line_at_loading(folder, template):
    (folder / "chat_template.jinja").write_text(template)
    missing = "leaves out the system message, which has the schema"
    assert refusal(folder) == f"the chat template of mine {missing}; {SYSTEM_ROLE}"


@pytest.mark.parametrize(
    "template", ["{{ messages[0].content }}", "{% for m in messages if m.role != 'user' %}" + TURN + "{% endfor %}"]
)
def test_a_template_that_loses_the_question_is_one_line_at_loading(folder, template):
    (folder / "chat_template.jinja").write_text(template)
    assert refusal(folder) == ("the chat template of mine leaves out the question; take a model whose template has it")


@pytest.mark.parametrize(
    "template",
    [
        EACH,
        "{% for m in messages %}{{ m.content | trim }}{% endfor %}",
        # The system message within the user's turn; content as text or in parts.
        "<start_of_turn>user\n{{ messages[0].content }}\n\n{{ messages[1].content }}<end_of_turn>\n",
        "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}{% for part in m.content %}"
        "{{ part.text }}{% endfor %}{% endif %}{% endfor %}",
    ],
    ids=["turns", "trimmed", "one turn", "text or parts"],
)
def test_a_template_with_both_is_taken(folder, template):
    (folder / "chat_template.jinja").write_text(template)
    loaded = load_model(str(folder))
    prompt = render(EXAMPLE, loaded.tokenizer)
    assert EXAMPLE.schema in prompt and EXAMPLE.question in prompt


def test_several_templates_without_a_default_are_one_line(folder):
    (folder / "chat_template.jinja").unlink()
    edit(folder / "tokenizer_config.json", chat_template=[{"name": "tools", "template": EACH}])
    assert refusal(folder).startswith("the chat template of mine fails on a system message (")


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_tokenizer_without_end_token_is_one_line(folder):
    edit(folder / "tokenizer_config.json", eos_token=None)
    assert refusal(folder) == (
        "mine has no end token; name its eos_token in tokenizer_config.json, or take another model"
    )


def test_the_check_comes_before_the_weights(folder):
    (folder / "model.safetensors").unlink()
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    assert "leaves out the question" in refusal(folder)


def test_a_tokenizer_that_passes_writes_an_end(folder):
    tokenizer = load_model(str(folder)).tokenizer
    check_tokenizer(tokenizer, "mine")
    assert completion_ids(EXAMPLE, tokenizer)[-1] == tokenizer.eos_token_id
