"""What every manifest of ours keeps, beyond what Kubernetes itself checks: one rule per function, findings as text.

A rule takes all manifests of one installation and yields what is wrong. `violations()` runs them all.
"""

import re

WORKLOADS = ("StatefulSet", "Deployment")
OUTSIDE = {"redis-password", "registry"}  # Secrets that the user brings along
ENUMS = {"restartPolicy": {"Always", "Never"}, "imagePullPolicy": {"Always", "IfNotPresent", "Never"},
         "whenUnsatisfiable": {"ScheduleAnyway", "DoNotSchedule"}, "protocol": {"TCP"},
         "podManagementPolicy": {"Parallel"}, "unhealthyPodEvictionPolicy": {"AlwaysAllow"},
         "fsGroupChangePolicy": {"OnRootMismatch", "Always"}}


def pods(manifests):
    """(name, labels, pod spec)"""
    for manifest in manifests:
        name = f"{manifest['kind']} {manifest['metadata']['name']}"
        if manifest["kind"] in WORKLOADS:
            template = manifest["spec"]["template"]
            yield name, template["metadata"]["labels"], template["spec"]
        elif manifest["kind"] == "Pod":
            yield name, manifest["metadata"]["labels"], manifest["spec"]


def containers(spec):
    return spec.get("initContainers", []) + spec["containers"]


def proxy_of(spec):
    return next((c for c in containers(spec) if c["name"] == "sidestream"), None)


def restricted(manifests):
    """The restricted Pod Security Standard, and a root file system that is read-only."""
    for name, _, spec in pods(manifests):
        pod = spec.get("securityContext", {})
        if pod.get("runAsNonRoot") is not True or not pod.get("runAsUser"):
            yield f"{name}: may run as root"
        if pod.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{name}: no seccomp profile"
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{name}: has a token of the cluster"
        if spec.get("enableServiceLinks") is not False:
            yield f"{name}: environment full of other Services"
        if any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
            yield f"{name}: shares something with its host"
        for container in containers(spec):
            wanted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                      "capabilities": {"drop": ["ALL"]}}
            if container.get("securityContext") != wanted:
                yield f"{name}/{container['name']}: securityContext is not {wanted}"


def resources(manifests):
    for name, _, spec in pods(manifests):
        for container in containers(spec):
            asked = container.get("resources", {})
            if not {"cpu", "memory"} <= set(asked.get("requests", {})):
                yield f"{name}/{container['name']}: requests no CPU or memory"
            if "cpu" in asked.get("limits", {}):
                yield f"{name}/{container['name']}: a CPU limit is replication lag"


def images(manifests):
    for name, _, spec in pods(manifests):
        for container in containers(spec):
            image = container["image"]
            if not re.search(r"(:[\w.-]+|@sha256:[0-9a-f]{64})$", image) or image.endswith(":latest"):
                yield f"{name}/{container['name']}: image {image} is not pinned"


def probes(manifests):
    """Those of the proxy ask its admin port by number; the others never ask for more than an answer."""
    wanted = {"startupProbe": "/startupz", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    for name, _, spec in pods(manifests):
        proxy = proxy_of(spec)
        if proxy is None:
            continue
        for probe, path in wanted.items():
            if proxy.get(probe, {}).get("httpGet") != {"path": path, "port": 9180}:
                yield f"{name}: {probe} is not {path} on 9180"
        for other in containers(spec):
            if other is not proxy and "readinessProbe" in other:
                yield f"{name}/{other['name']}: readiness is the proxy's business"


def drains(manifests):
    for name, _, spec in pods(manifests):
        proxy = proxy_of(spec)
        if proxy is None:
            continue
        command = proxy.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [])
        if command[:3] != ["/usr/bin/sidestream", "drain", "--wait"]:
            yield f"{name}: no drain before it stops"
        elif spec.get("terminationGracePeriodSeconds", 30) < int(command[3].removesuffix("s")) + 15:
            yield f"{name}: killed while clients leave"


def sidecars(manifests):
    """A native sidecar: restarted for ever, and there before the server that asks it for its role."""
    for name, _, spec in pods(manifests):
        for container in spec.get("initContainers", []):
            if container["name"] == "sidestream" and container.get("restartPolicy") != "Always":
                yield f"{name}: the sidecar would have to end before the server starts"


def services(manifests):
    labels = [(name, labels, spec) for name, labels, spec in pods(manifests)]
    names = {m["metadata"]["name"] for m in manifests if m["kind"] == "Service"}
    for manifest in manifests:
        name, spec = f"{manifest['kind']} {manifest['metadata']['name']}", manifest.get("spec", {})
        if manifest["kind"] == "StatefulSet" and spec["serviceName"] not in names:
            yield f"{name}: there is no Service {spec['serviceName']}"
        if manifest["kind"] != "Service":
            continue
        chosen = [pod for _, has, pod in labels if spec["selector"].items() <= has.items()]
        if len(chosen) != 1:
            yield f"{name}: selects {len(chosen)} kinds of pods"
        for port in spec["ports"]:
            if not isinstance(port.get("targetPort"), int):
                yield f"{name}: targetPort {port.get('targetPort')} is not a number"
            declared = {p["containerPort"] for pod in chosen for c in containers(pod) for p in c.get("ports", [])}
            if port.get("targetPort") not in declared:
                yield f"{name}: nobody declares port {port.get('targetPort')}"


def selectors(manifests):
    """They find pods, and carry nothing that an upgrade changes."""
    all_labels = [labels for _, labels, _ in pods(manifests)]
    for manifest in manifests:
        name, spec = f"{manifest['kind']} {manifest['metadata']['name']}", manifest.get("spec", {})
        selector = (spec.get("selector") if manifest["kind"] != "Service" else None) or spec.get("podSelector")
        if selector is None:
            continue
        chosen = selector["matchLabels"]
        if not any(chosen.items() <= labels.items() for labels in all_labels):
            yield f"{name}: selects nothing"
        if set(chosen) - {"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component"}:
            yield f"{name}: its selector may change"


def references(manifests):
    """Every ConfigMap, Secret, volume and key that is mentioned is there."""
    maps = {m["metadata"]["name"]: m["data"] for m in manifests if m["kind"] == "ConfigMap"}
    for manifest in manifests:
        claims = [c["metadata"]["name"] for c in manifest.get("spec", {}).get("volumeClaimTemplates", [])]
        for name, _, spec in pods([manifest]):
            volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
            for container in containers(spec):
                for mount in container.get("volumeMounts", []):
                    if mount["name"] not in volumes and mount["name"] not in claims:
                        yield f"{name}/{container['name']}: no volume {mount['name']}"
            for volume in volumes.values():
                source = volume.get("configMap")
                if source and source["name"] not in maps:
                    yield f"{name}: no ConfigMap {source['name']}"
                for item in (source or {}).get("items", []):
                    if item["key"] not in maps.get(source["name"], {}):
                        yield f"{name}: no key {item['key']}"
                if "secret" in volume and volume["secret"]["secretName"] not in OUTSIDE:
                    yield f"{name}: no Secret {volume['secret']['secretName']}"


def enums(manifests):
    """The models know types, not values."""
    def walk(value, where):
        if isinstance(value, list):
            for entry in value:
                yield from walk(entry, where)
        elif isinstance(value, dict):
            for key, inner in value.items():
                if key in ENUMS and inner not in ENUMS[key]:
                    yield f"{where}: {key}: {inner}"
                yield from walk(inner, where)
    for manifest in manifests:
        yield from walk(manifest, f"{manifest['kind']} {manifest['metadata']['name']}")


RULES = [restricted, resources, images, probes, drains, sidecars, services, selectors, references, enums]


def violations(manifests):
    return [f"{rule.__name__}: {finding}" for rule in RULES for finding in rule(manifests)]
