"""Python google-genai: an upload and a cached content are used after another account has become the better one."""

import io
import os
import time

from google import genai
from google.genai import errors, types

client = genai.Client(
    api_key=os.environ["POOL_KEY"],
    http_options=types.HttpOptions(base_url=os.environ["POOL_URL"], timeout=60_000),
)
model = "gemini-2.5-pro"
file = client.files.upload(file=io.BytesIO(b"made up\n" * 1000), config={"mime_type": "text/plain"})
cache = client.caches.create(model=model, config={"contents": "made up " * 1000})

# By now the preferred account can serve again.
time.sleep(float(os.environ.get("POOL_WAIT", "0")))

assert client.files.get(name=file.name).name == file.name
answer = client.models.generate_content(model=model, contents=[file, "read it"])
print("generate:", answer.text)
answer = client.models.generate_content(model=model, contents="go on", config={"cached_content": cache.name})
print("cached:", answer.text)
client.files.delete(name=file.name)
for gone in [lambda: client.caches.get(name="cachedContents/nobodys"), lambda: list(client.files.list())]:
    try:
        gone()
    except errors.ClientError as error:
        assert error.code == 404, error
        print("refused:", error.message[:60])
    else:
        raise AssertionError("served")
