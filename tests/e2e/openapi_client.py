"""Calls every route with the client that openapi-python-client made (package `licensing`). Arguments: URL, root URL, a token.

Prints the operations that were called, as JSON.
"""

import builtins
import importlib
import json
import re
import sys

from licensing import AuthenticatedClient, Client, models, types

# 0.29.1 does not import it where a request has one of several bodies and no optional parameter.
builtins.Unset = types.Unset

url, root_url, token = sys.argv[1:]
anyone = Client(base_url=url, raise_on_unexpected_status=True)
admin = AuthenticatedClient(base_url=url, token="YWRtaW46YWRtaW4=", prefix="Basic", raise_on_unexpected_status=True)
called = []


def call(operation, status, kind=None, client=admin, tag="license_", **arguments):
    """Calls an operation; asserts status and type of the answer, and returns it."""
    module = importlib.import_module(f"licensing.api.{tag}." + re.sub("[A-Z]", lambda it: "_" + it[0].lower(), operation))
    answer = module.sync_detailed(client=client, **arguments)
    assert answer.status_code == status, (operation, answer)
    assert kind is None or type(answer.parsed) is kind, (operation, answer.parsed)
    called.append(operation)
    return answer


license = call("installToken", 200, models.License, body=models.InstallTokenBody(token=token)).parsed
assert license.company == "Example Ltd" and license.status == 1, license
assert call("check", 200).parsed is True
shown = call("readToken", 200, models.License)
assert shown.parsed == license
report = call("validateToken", 200, models.Report, body=models.ValidateTokenBody(token=token)).parsed
assert report.valid and not report.changes, report
renewed = call("renewToken", 200, models.License, body=models.RenewTokenBody()).parsed
assert renewed.jti != license.jti
stale = call("rollBackToken", 412, body=models.RollBackTokenBody(jti=license.jti), if_match=shown.headers["etag"]).parsed
assert stale.message_id == "licensing.changed", stale
former = call("history", 200).parsed
assert former[0].jti == license.jti, former
restored = call("rollBackToken", 200, models.License, body=models.RollBackTokenBody(jti=license.jti)).parsed
assert restored == license
request = call("requestRenewal", 200, models.RenewalRequest, body=models.RequestRenewalBody()).parsed
assert request.lid == "1001"
form = models.Form(action=models.FormAction.REQUEST)
assert call("submit", 200, models.RenewalRequest, tag="page", body=form).parsed.lid == "1001"
call("refreshStats", 200, models.Stats)
denied = call("readToken", 401, client=anyone).parsed
assert denied.message_id == "auth.unauthorized", denied
refused = call("installToken", 400, body=models.InstallTokenBody(token="x")).parsed
assert refused.message_id == "licensing.token.malformed", refused
wrong = call("removeToken", 422, body=models.RemoveTokenBody(instance="https://other.example/")).parsed
assert wrong.message_id == "licensing.instance.mismatch", wrong
call("removeToken", 202, body=models.RemoveTokenBody(instance=root_url))
page = call("page", 200, tag="page").parsed
name = re.search(r"style\.[0-9a-f]+\.css", page)[0]
call("asset", 200, client=anyone, tag="page", name=name)
call("slashOfForm", 308, client=anyone, tag="page")
call("slash", 308, client=anyone, tag="page")
call("describe", 200, client=anyone, tag="description")
print(json.dumps(sorted(set(called))))
