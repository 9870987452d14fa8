"""Python anthropic: a streamed turn with a tool call, token counting, the list of models."""

import os

from anthropic import Anthropic

client = Anthropic(base_url=os.environ["POOL_URL"], api_key=os.environ["POOL_KEY"], max_retries=int(os.environ["POOL_RETRIES"]), timeout=60)
city = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
tools = [{"name": "weather", "description": "The weather", "input_schema": city}]
messages = [{"role": "user", "content": "How is the weather?"}]
ask = {"model": "claude-sonnet-5-5", "max_tokens": 256, "tools": tools}

with client.messages.stream(messages=messages, **ask) as stream:
    first = stream.get_final_message()
call = next(block for block in first.content if block.type == "tool_use")
assert "city" in call.input, call
messages += [
    {"role": "assistant", "content": [{"type": "tool_use", "id": call.id, "name": call.name, "input": call.input}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}]},
]
with client.messages.stream(messages=messages, **ask) as stream:
    last = stream.get_final_message()
assert last.usage.output_tokens > 0
print("messages:", last.content[-1].text)
counted = client.messages.count_tokens(model="claude-sonnet-5-5", messages=[{"role": "user", "content": "hi"}])
assert counted.input_tokens > 0
assert client.models.list().data
