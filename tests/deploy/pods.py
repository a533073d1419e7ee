"""Pods without a cluster: what a manifest says, done with namespaces. Runs inside `unshare --net --mount`.

Happy path: each pod gets an address on a bridge and a name in a hosts file; its containers run in order, in their
image's root file system, read-only, as the manifest's user, without a capability; volumes are directories. Probes and
preStop are done as the kubelet does them. What stands in for Kubernetes is this file; all else is the real thing.
Failure modes: a container that ends, or a startup probe that does not succeed, raises with the end of its log.
"""

import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from chroots import OVERLAY

BRIDGE = "pods"
GATEWAY = "10.77.0.1"


def sh(command):
    subprocess.run(["sh", "-euc", command], check=True)


class Container:
    def __init__(self, pod, spec, root):
        self.pod, self.spec, self.name, self.root = pod, spec, spec["name"], root
        self.log = pod.place / f"{self.name}.log"
        self.process = None
        for mount in spec.get("volumeMounts", []):  # a container runtime makes the places to mount at, too
            Path(root, mount["mountPath"].lstrip("/")).mkdir(parents=True, exist_ok=True)
        Path(root, "etc/hosts").touch()

    def environment(self):
        values = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
        for entry in self.spec.get("env", []):
            source = entry.get("valueFrom", {})
            if "fieldRef" in source:
                values[entry["name"]] = self.pod.fields[source["fieldRef"]["fieldPath"]]
            elif "secretKeyRef" in source:
                secret = source["secretKeyRef"]
                values[entry["name"]] = self.pod.cluster.secrets[secret["name"]][secret["key"]]
            else:
                values[entry["name"]] = entry["value"]
        return values

    def command(self, words):
        """In bubblewrap, in the network of the pod."""
        security, pod = self.spec["securityContext"], self.pod.spec["securityContext"]
        assert security["readOnlyRootFilesystem"] and security["capabilities"] == {"drop": ["ALL"]}
        line = ["ip", "netns", "exec", self.pod.name, "bwrap", "--die-with-parent", "--clearenv",
                "--ro-bind", self.root, "/", "--proc", "/proc", "--dev", "/dev",
                "--unshare-user", "--unshare-pid", "--unshare-ipc",
                "--uid", pod["runAsUser"], "--gid", pod["runAsGroup"], "--cap-drop", "ALL",
                "--ro-bind", self.pod.cluster.hosts, "/etc/hosts"]
        for mount in self.spec.get("volumeMounts", []):
            source = self.pod.volume(mount["name"], mount.get("subPath"))
            line += ["--ro-bind" if mount.get("readOnly") else "--bind", source, mount["mountPath"]]
        for name, value in self.environment().items():
            line += ["--setenv", name, value]
        expanded = [re.sub(r"\$\((\w+)\)", lambda match: self.environment()[match[1]], word) for word in words]
        return [str(word) for word in [*line, "--chdir", "/", "--", *expanded]]

    def start(self):
        """From the main thread: the container ends with the thread that started it."""
        words = self.spec.get("command") or ["/usr/bin/sidestream"]
        with open(self.log, "ab") as log:
            line = self.command([*words, *self.spec.get("args", [])])
            self.process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        probe = self.spec.get("startupProbe")
        for _ in range(probe["failureThreshold"] * 4 if probe else 0):
            if self.probe("startupProbe"):
                return
            assert self.process.poll() is None, f"{self.pod.name}/{self.name} ended\n{self.last_words()}"
            time.sleep(probe["periodSeconds"])
        assert probe is None, f"{self.pod.name}/{self.name} does not start\n{self.last_words()}"

    def probe(self, kind):
        get = self.spec[kind]["httpGet"]
        try:
            with urllib.request.urlopen(f"http://{self.pod.address}:{get['port']}{get['path']}", timeout=3) as answer:
                return answer.status == 200
        except (OSError, urllib.error.URLError):
            return False

    def execute(self, words):
        """As `kubectl exec`, and as preStop does: in the container's file system and network."""
        return subprocess.run(self.command(words), capture_output=True, text=True, timeout=120)

    def last_words(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-25:])


class Pod:
    def __init__(self, cluster, workload, index):
        template = workload["spec"]["template"]
        self.cluster, self.index, self.spec = cluster, index, template["spec"]
        self.name = f"{workload['metadata']['name']}-{index}"
        self.place = cluster.place / self.name
        self.place.mkdir(parents=True)
        self.address = cluster.next_address()
        self.domain = f"{self.name}.{workload['spec']['serviceName']}.{cluster.namespace}.svc.cluster.local"
        self.fields = {"metadata.name": self.name, "status.podIP": self.address,
                       "metadata.labels['apps.kubernetes.io/pod-index']": str(index)}
        self.containers = [Container(self, spec, cluster.images[spec["name"]])
                           for spec in self.spec.get("initContainers", []) + self.spec["containers"]]
        self.running = False
        side = f"p{self.address.split('.')[-1]}"
        sh(f"""ip netns add {self.name}
               ip link add {side} type veth peer name eth0 netns {self.name}
               ip link set {side} master {BRIDGE} up
               ip -n {self.name} link set lo up
               ip -n {self.name} addr add {self.address}/24 dev eth0
               ip -n {self.name} link set eth0 up""")

    def volume(self, name, sub_path=None):
        """Its directory, filled; a claim and an emptyDir live as long as the cluster."""
        place = self.place / "volumes" / name
        source = next((volume for volume in self.spec["volumes"] if volume["name"] == name), {})
        place.mkdir(parents=True, exist_ok=True)
        if "configMap" in source:
            data = self.cluster.config_map(source["configMap"]["name"])
            items = source["configMap"].get("items") or [{"key": key, "path": key} for key in data]
            for item in items:
                (place / item["path"]).write_text(data[item["key"]])
        elif "secret" in source:
            for item in source["secret"]["items"]:
                (place / item["path"]).write_text(self.cluster.secrets[source["secret"]["secretName"]][item["key"]])
        if sub_path:
            place = place / sub_path
            place.mkdir(exist_ok=True)
        return place  # the pod's user is this one outside of its namespace

    def container(self, name):
        return next(container for container in self.containers if container.name == name)

    def start(self):
        for container in self.containers:
            container.start()
        self.running = True

    def ready(self):
        for container in self.containers if self.running else []:
            assert container.process.poll() is None, f"{self.name}/{container.name} ended\n{container.last_words()}"
        return self.running and all(container.probe("readinessProbe") for container in self.containers
                                    if "httpGet" in container.spec.get("readinessProbe", {}))

    def kill(self):
        """The machine under it is gone."""
        self.running = False
        for container in self.containers:
            container.process.kill()
            container.process.wait()

    def delete(self):
        """As the kubelet ends a pod: preStop, then the containers, sidecars last. Returns {container: exit code}."""
        for container in self.containers:
            stop = container.spec.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command")
            if stop:
                done = container.execute(stop)
                assert done.returncode == 0, f"preStop: {done.stderr}\n{container.last_words()}"
        self.running = False
        codes = {}
        for container in reversed(self.containers):
            try:
                for child in children_of(container.process.pid):
                    os.kill(child, signal.SIGTERM)
            except (FileNotFoundError, ProcessLookupError):
                pass  # it has ended by itself, as after a drain
            codes[container.name] = container.process.wait(self.spec["terminationGracePeriodSeconds"])
        return codes


def children_of(pid):
    """The program inside: `ip` has become bwrap, whose child is the first process of the container and waits for it."""
    def below(parent):
        listed = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return [int(child) for child in listed]
    inner = below(pid)
    return [grandchild for child in inner for grandchild in below(child)]


class Cluster:
    """`images`: container name -> root file system. `secrets`: name -> {key: text}."""

    def __init__(self, manifests, place, images, secrets, namespace="ns"):
        self.manifests, self.place, self.secrets = manifests, place, secrets
        self.images = {}
        for name, image in images.items():
            subprocess.run(["sh", "-euc", OVERLAY, place / f"root-{name}", image], check=True)
            self.images[name] = place / f"root-{name}" / "root"
        self.namespace, self.last = namespace, 10
        self.hosts = place / "hosts"
        sh(f"""mount --make-rprivate /
               mkdir -p /run/netns && mount -t tmpfs none /run/netns
               ip link set lo up
               ip link add {BRIDGE} type bridge && ip link set {BRIDGE} up && ip addr add {GATEWAY}/24 dev {BRIDGE}""")
        self.pods = [Pod(self, workload, index) for workload in manifests if workload["kind"] == "StatefulSet"
                     for index in range(workload["spec"]["replicas"])]
        self.hosts.write_text("127.0.0.1 localhost\n" + "".join(f"{pod.address} {pod.domain}\n" for pod in self.pods))

    def name(self, service, pod):
        """A Service that has one pod; there is nobody to choose among several."""
        self.hosts.write_text(self.hosts.read_text() + f"{pod.address} {service}\n")

    def next_address(self):
        self.last += 1
        return f"10.77.0.{self.last}"

    def config_map(self, name):
        return next(m["data"] for m in self.manifests if m["kind"] == "ConfigMap" and m["metadata"]["name"] == name)

    def stop(self):
        for pod in self.pods:
            if pod.running:
                pod.kill()
