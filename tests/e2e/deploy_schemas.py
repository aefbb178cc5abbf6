"""Validates examples/deploy: kubernetes.yaml, the Kubernetes objects in grafana-values.yaml, and compose.yaml.

Arguments: the directory, the JSON schema of Compose files. Prints each object that is valid; fails at the first that is not.
"""

import json
import pathlib
import sys

import jsonschema
import kubernetes_validate
import yaml

# The oldest version with everything that the files use, and the newest that is known here.
VERSIONS = "1.30", kubernetes_validate.latest_version()


def kubernetes(name, manifest):
    for version in VERSIONS:
        kubernetes_validate.validate(manifest, version, strict=True)
    print(name, manifest["kind"], manifest["metadata"]["name"])


def pod_of(values):
    """The parts of a pod that the values contain, as the chart puts them together."""
    dashboard = {
        "name": "grafana",
        "image": "grafana",
        "readinessProbe": values["readinessProbe"],
        "livenessProbe": values["livenessProbe"],
        "lifecycle": values["lifecycleHooks"],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "grafana"},
        "spec": {
            "initContainers": values["extraInitContainers"],
            "containers": [dashboard],
            "volumes": values["extraContainerVolumes"],
        },
    }


def main(directory, schema):
    for manifest in yaml.safe_load_all((directory / "kubernetes.yaml").read_text()):
        kubernetes("kubernetes.yaml", manifest)
    values = yaml.safe_load((directory / "grafana-values.yaml").read_text())
    for manifest in [pod_of(values), *values["extraObjects"]]:
        kubernetes("grafana-values.yaml", manifest)
    compose = yaml.safe_load((directory / "compose.yaml").read_text())
    jsonschema.validate(compose, json.loads(schema.read_text()))
    print("compose.yaml", *compose["services"])


main(*map(pathlib.Path, sys.argv[1:]))
