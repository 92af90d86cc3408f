"""What openapi-python-client made of the document, used: generated_client.py FOLDER URL KEY."""

import sys

folder, url, key = sys.argv[1:4]
sys.path.insert(0, folder)

from instep_api import AuthenticatedClient, Client  # noqa: E402
from instep_api.api.commits import commit  # noqa: E402
from instep_api.api.datasets import create_dataset  # noqa: E402
from instep_api.api.mail import answer_messages, move_endpoint, pull_messages, send_messages  # noqa: E402
from instep_api.api.rows import show_row  # noqa: E402
from instep_api.models import (  # noqa: E402
    AddOperation,
    AnswersRequest,
    CommitRequest,
    CreateTableOperation,
    Fields,
    LetterRequest,
    MoveRequest,
    Problem,
    PullRequest,
    PutOperation,
    RequireOperation,
)

client = AuthenticatedClient(base_url=url, token=key)
create_dataset.sync("generated", client=client)
row = Fields.from_dict({"count": 12, "released": True})
made = commit.sync("generated", client=client, body=CommitRequest(ops=[
    CreateTableOperation(op="create_table", table="items", public=True),
    PutOperation(op="put", table="items", key="7", row=row),
    RequireOperation(op="require", table="items", key="7", where="row.released"),
    AddOperation(op="add", table="items", key="7", field="count", by=-3, min_=0),
]))
assert made.results == [None, None, None, 9], made
read = show_row.sync("generated", "items", "7", client=Client(base_url=url), at_least=made.position)
assert read.row["count"] == 9, read

refused = commit.sync("generated", client=client, body=CommitRequest(ops=[
    RequireOperation(op="require", table="items", key="7", exists=False),
]))
assert isinstance(refused, Problem) and refused.code == "condition_failed", refused

move_endpoint.sync("post", client=client, body=MoveRequest(endpoint="org/1", to="9"))
sent = send_messages.sync("post", "mail", client=client, body=LetterRequest(to="org/1", body={"n": 1}))
pulled = pull_messages.sync("post", "9", client=client, body=PullRequest(wait_ms=1000))
assert [one.id for one in pulled.messages] == [sent.messages[0].id], pulled
answers = AnswersRequest(registration=pulled.registration, ack=[pulled.messages[0].seq])
answered = answer_messages.sync("post", "9", client=client, body=answers)
assert answered.outcomes[0].outcome == "ok", answered
print("done")
