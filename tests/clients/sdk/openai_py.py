"""Python openai: a streamed Responses turn and a plain chat turn, each with a tool call."""

import json
import os

from openai import OpenAI

client = OpenAI(base_url=os.environ["POOL_URL"] + "/v1", api_key=os.environ["POOL_KEY"], max_retries=int(os.environ["POOL_RETRIES"]), timeout=60)
city = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}

tools = [{"type": "function", "name": "weather", "parameters": city}]
conversation = [{"role": "user", "content": "How is the weather?"}]
with client.responses.stream(model="gpt-5.5", input=conversation, tools=tools) as stream:
    first = stream.get_final_response()
call = next(item for item in first.output if item.type == "function_call")
assert "city" in json.loads(call.arguments), call
conversation += [
    {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments},
    {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"},
]
with client.responses.stream(model="gpt-5.5", input=conversation, tools=tools) as stream:
    last = stream.get_final_response()
assert last.usage.total_tokens > 0
print("responses:", last.output_text)

tools = [{"type": "function", "function": {"name": "weather", "parameters": city}}]
messages = [{"role": "user", "content": "How is the weather?"}]
first = client.chat.completions.create(model="gpt-5.5", messages=messages, tools=tools)
message = first.choices[0].message
messages += [
    {"role": "assistant", "content": None, "tool_calls": [call.model_dump() for call in message.tool_calls]},
    {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sunny"},
]
last = client.chat.completions.create(model="gpt-5.5", messages=messages, tools=tools)
assert last.usage.total_tokens > 0
print("chat:", last.choices[0].message.content)
assert client.models.list().data
assert len(client.embeddings.create(model="text-embedding-3-small", input="hi").data[0].embedding) == 4
