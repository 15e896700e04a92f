"""A language model of 0.1 million weights that has learnt a few replies by heart.

Run as a program, this module trains it, in some ten seconds, and saves it to a folder in the
format of transformers. It needs transformers and torch, and no network.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

TEXT = "one two é 漢🎉"
PLACES = ["Bern", "Zürich"]
RESULTS = ["sunny", "rainy"]

# Tool calls and reasoning have the markup of Qwen3, which `transformers serve` knows.
_TEMPLATE = """\
{%- if tools %}<|im_start|>system
{{ tools | map(attribute='function') | map(attribute='name') | join(' ') }}<|im_end|>
{% endif %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}
{%- for call in message.tool_calls or [] -%}
<tool_call>{{ call.function.name }}{{ call.function.arguments | tojson }}</tool_call>
{%- endfor %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
_END = "<|im_end|>"


class _Dialog(NamedTuple):
    messages: Sequence[Mapping[str, Any]]
    reply: str
    tools: Sequence[Mapping[str, Any]] | None = None


def _user(text: str) -> Mapping[str, Any]:
    return {"role": "user", "content": text}


def _function(place: str) -> dict[str, Any]:
    return {"name": "weather", "arguments": {"place": place}}


def _markup(place: str) -> str:
    return f"<tool_call>{json.dumps(_function(place), ensure_ascii=False)}</tool_call>"


def _results(places: Sequence[str], results: Sequence[str]) -> list[Mapping[str, Any]]:
    calls = [{"type": "function", "function": _function(place)} for place in places]
    said = {"role": "assistant", "content": "", "tool_calls": calls}
    return [said, *({"role": "tool", "content": result} for result in results)]


_TOOLS = [{"type": "function", "function": {"name": "weather"}}]
_DIALOGS = [
    _Dialog([_user("Hello")], TEXT + _END),
    _Dialog([_user("Hello"), {"role": "assistant", "content": TEXT}, _user("Again")], "2" + _END),
    # A song that does not end.
    _Dialog([_user("Sing")], "la " * 40),
    # Reasoning, two calls, and the reply to their results.
    _Dialog([_user("Weather")], f"<think>Hm</think>{''.join(map(_markup, PLACES))}{_END}", _TOOLS),
    _Dialog([_user("Weather"), *_results(PLACES, RESULTS)], ", ".join(RESULTS) + _END, _TOOLS),
    # Text, then a call.
    _Dialog([_user("Look")], f"Hm{_markup(PLACES[0])}{_END}", _TOOLS),
    _Dialog([_user("Look"), *_results(PLACES[:1], RESULTS[:1])], RESULTS[0] + _END, _TOOLS),
]


def main(folder: str) -> None:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import (
        GenerationConfig,
        PreTrainedTokenizerFast,
        Qwen3Config,
        Qwen3ForCausalLM,
    )

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({byte: index for index, byte in enumerate(alphabet)}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(["<|im_start|>", _END])
    core.add_tokens(["<think>", "</think>", "<tool_call>", "</tool_call>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token=_END, pad_token=_END)
    tokenizer.chat_template = _TEMPLATE

    # On a busy machine with two cores, a step takes 26 ms on one thread and 1 s on two.
    torch.set_num_threads(1)
    torch.manual_seed(0)
    end = tokenizer.eos_token_id
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=16384,
        eos_token_id=end,
        pad_token_id=end,
        bos_token_id=None,
    )
    model = Qwen3ForCausalLM(config)
    model.generation_config = GenerationConfig(do_sample=False, eos_token_id=end, pad_token_id=end)

    rows: list[tuple[list[int], list[int]]] = []
    for dialog in _DIALOGS:
        prompt = tokenizer.apply_chat_template(
            [*dialog.messages], tools=dialog.tools, tokenize=False, add_generation_prompt=True
        )
        rows.append((tokenizer(prompt)["input_ids"], tokenizer(dialog.reply)["input_ids"]))
    length = max(len(asked) + len(learnt) for asked, learnt in rows)
    ids = torch.full((len(rows), length), end)
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, -100)  # not learnt
    for row, (asked, learnt) in enumerate(rows):
        size = len(asked) + len(learnt)
        ids[row, :size] = torch.tensor(asked + learnt)
        mask[row, :size] = 1
        labels[row, len(asked) : size] = torch.tensor(learnt)

    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
    for _ in range(2000):
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss.item() < 0.002:
            break
    else:
        raise RuntimeError(f"the model has not learnt its replies: loss {loss.item()}")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main(sys.argv[1])
