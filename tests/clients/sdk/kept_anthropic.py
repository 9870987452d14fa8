"""Python anthropic: files and batches are used after another account has become the better one."""

import os
import time

from anthropic import Anthropic, NotFoundError

client = Anthropic(base_url=os.environ["POOL_URL"], api_key=os.environ["POOL_KEY"], max_retries=0, timeout=60)
model = "claude-sonnet-5-5"
file = client.beta.files.upload(file=("notes.txt", b"made up\n" * 1000, "text/plain"))
ask = {"model": model, "max_tokens": 64, "messages": [{"role": "user", "content": "say hi"}]}
batch = client.messages.batches.create(requests=[{"custom_id": "1", "params": ask}])

# By now the preferred account can serve again.
time.sleep(float(os.environ.get("POOL_WAIT", "0")))

assert client.beta.files.retrieve_metadata(file.id).id == file.id
assert client.beta.files.download(file.id).read() == b"made up\n" * 1000
block = {"type": "document", "source": {"type": "file", "file_id": file.id}}
message = {"role": "user", "content": [block, {"type": "text", "text": "read it"}]}
last = client.beta.messages.create(**{**ask, "messages": [message]}, betas=["files-api-2025-04-14"])
print("messages:", last.content[-1].text)
assert client.messages.batches.retrieve(batch.id).processing_status == "ended"
client.beta.files.delete(file.id)
for gone in [lambda: client.messages.batches.retrieve("msgbatch_nobodys"), lambda: list(client.beta.files.list())]:
    try:
        gone()
    except NotFoundError as error:
        print("refused:", error.message[:60])
    else:
        raise AssertionError("served")
