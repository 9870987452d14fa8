"""Python google-genai: a plain and a streamed step with a function call."""

import os

from google import genai
from google.genai import types

client = genai.Client(
    api_key=os.environ["POOL_KEY"],
    http_options=types.HttpOptions(base_url=os.environ["POOL_URL"], timeout=60_000),
)
declaration = types.FunctionDeclaration(
    name="weather",
    parameters=types.Schema(type="OBJECT", properties={"city": types.Schema(type="STRING")}, required=["city"]),
)
config = types.GenerateContentConfig(
    tools=[types.Tool(function_declarations=[declaration])],
    automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
)
contents = [types.Content(role="user", parts=[types.Part(text="How is the weather?")])]
first = client.models.generate_content(model="gemini-2.5-pro", contents=contents, config=config)
call = first.function_calls[0]
assert "city" in call.args, call
contents += [
    first.candidates[0].content,
    types.Content(role="user", parts=[types.Part.from_function_response(name=call.name, response={"sky": "sunny"})]),
]
text = ""
for chunk in client.models.generate_content_stream(model="gemini-2.5-pro", contents=contents, config=config):
    text += chunk.text or ""
print("generate:", text)
