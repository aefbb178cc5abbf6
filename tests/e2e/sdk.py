"""Calls the licensing API with grafana-api-sdk. Arguments: URL, user and password. Prints JSON."""

import json
import sys

import httpx
from grafana_api.api import Api
from grafana_api.licensing import Licensing
from grafana_api.model import APIModel

url, user, password = sys.argv[1:]
licensing = Licensing(APIModel(host=url, username=user, password=password))
decode = Api._check_the_api_call_response


def response_or_decoded(response=None, with_status=False):
    # 0.9.1 calls len() on any JSON, which fails for a bool; this returns the whole response, as its caller expects.
    return response if response.text in ("true", "false") else decode(response, with_status)


try:
    unaided = licensing.check_license_availability()
except TypeError as error:
    unaided = str(error)
Api._check_the_api_call_response = staticmethod(response_or_decoded)
print(
    json.dumps(
        {
            "unaided": unaided,
            "check": licensing.check_license_availability(),
            "renewed": licensing.manually_force_license_refresh(),
        }
    )
)
