"""Python openai: what lives on one account is used after another account has become the better one."""

import os
import time

from openai import NotFoundError, OpenAI

client = OpenAI(base_url=os.environ["POOL_URL"] + "/v1", api_key=os.environ["POOL_KEY"], max_retries=0, timeout=60)
model = "gpt-5.5"

file = client.files.create(file=("notes.txt", b"made up\n" * 1000), purpose="user_data")
batch = client.batches.create(input_file_id=file.id, endpoint="/v1/responses", completion_window="24h")
store = client.vector_stores.create(name="made up", file_ids=[file.id])
conversation = client.conversations.create()
first = client.responses.create(model=model, input="say hi")

# By now the preferred account can serve again.
time.sleep(float(os.environ.get("POOL_WAIT", "0")))

with client.responses.stream(model=model, input="go on", previous_response_id=first.id) as stream:
    second = stream.get_final_response()
third = client.responses.create(model=model, input="and on", previous_response_id=second.id)
assert client.responses.retrieve(first.id).id == first.id
print("chain:", third.output_text)

part = {"role": "user", "content": [{"type": "input_file", "file_id": file.id}, {"type": "input_text", "text": "read it"}]}
client.responses.create(model=model, input=[part])
assert client.files.content(file.id).content == b"made up\n" * 1000
done = client.batches.retrieve(batch.id)
assert b"custom_id" in client.files.content(done.output_file_id).content
assert client.vector_stores.retrieve(store.id).id == store.id
client.responses.create(model=model, input="hi", conversation=conversation.id)
client.files.delete(file.id)
for gone in [lambda: client.files.retrieve("file-nobodys0123456789"), client.files.list]:
    try:
        gone()
    except NotFoundError as error:
        print("refused:", error.message[:60])
    else:
        raise AssertionError("served")

with client.realtime.connect(model="gpt-realtime") as socket:
    assert socket.recv().type == "session.created"
    socket.session.update(session={"type": "realtime", "instructions": "be brief"})
    assert "be brief" in socket.recv_bytes().decode()
print("realtime: ok")
