"""What compose.yaml, the Helm chart and the images' sources promise. tests/deploy/manifests installs the tools and runs this."""

import difflib
import fnmatch
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import unittest
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/stream-bridges"
GOLDEN = ROOT / "tests/deploy/golden"
COMPOSE = ROOT / "deploy/compose.yaml"
STREAMS = ["job-lifecycle", "job-metrics", "notifications", "audit-trail", "broker-metrics"]
# Those that make-schemas has prepared.
KUBERNETES = ["1.29.0", "1.37.0"]


def run(*command, **more):
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **more)


def helm(values, *more, kubernetes=KUBERNETES[-1], release="live"):
    """Renders the chart with values: a file, or a dict."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        if isinstance(values, dict):
            yaml.safe_dump(values, file)
            file.flush()
            values = file.name
        command = ["template", release, str(CHART), "--namespace", "bridges", "--kube-version", kubernetes]
        return run(os.environ["HELM"], *command, "--values", str(values), *more)


def render(values, **more):
    """The objects, by kind and name."""
    rendered = helm(values, **more)
    if rendered.returncode:
        raise AssertionError(rendered.stderr)
    objects = [one for one in yaml.safe_load_all(rendered.stdout) if one]
    return {(one["kind"], one["metadata"]["name"]): one for one in objects}


def one_stream(**stream):
    return {"streams": {"job-lifecycle": stream}}


def pod(workload):
    return workload["spec"]["template"]["spec"]


def environment(workload):
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in pod(workload)["containers"][0]["env"]}


class Chart(unittest.TestCase):
    def test_it_is_rendered_as_the_golden_files_say(self):
        for values in sorted(GOLDEN.glob("*.values.yaml")):
            golden = values.with_name(values.name.replace(".values.", ".golden."))
            rendered = helm(values)
            self.assertEqual(rendered.returncode, 0, rendered.stderr)
            if os.environ.get("UPDATE_GOLDEN") == "yes":
                golden.write_text(rendered.stdout)
            expected = golden.read_text().splitlines()
            difference = "\n".join(difflib.unified_diff(expected, rendered.stdout.splitlines(), str(golden), "rendered", lineterm=""))
            self.assertFalse(difference, f"{difference}\nUPDATE_GOLDEN=yes tests/deploy/manifests takes it over")

    def test_lint_finds_nothing(self):
        for values in sorted(GOLDEN.glob("*.values.yaml")):
            linted = run(os.environ["HELM"], "lint", "--strict", "--quiet", str(CHART), "--values", str(values))
            self.assertEqual(linted.returncode, 0, linted.stdout + linted.stderr)

    def validate(self, text, kubernetes):
        schemas = os.environ["SCHEMAS"] + "/{{ .NormalizedKubernetesVersion }}/{{ .ResourceKind }}{{ .KindSuffix }}.json"
        command = ["-kubernetes-version", kubernetes, "-schema-location", schemas, "-summary", "-output", "json"]
        checked = run(os.environ["KUBECONFORM"], *command, input=text)
        return checked.returncode, json.loads(checked.stdout)

    def test_kubernetes_takes_it_oldest_and_newest(self):
        cases = sorted(GOLDEN.glob("*.values.yaml")) + [with_rules()]
        for kubernetes in KUBERNETES:
            for values in cases:
                rendered = helm(values, kubernetes=kubernetes).stdout
                code, said = self.validate(rendered, kubernetes)
                self.assertEqual((code, said["summary"]["skipped"]), (0, 0), json.dumps(said, indent=1))
                self.assertGreater(said["summary"]["valid"], 5)

    def test_what_kubernetes_would_refuse_is_noticed(self):
        rendered = helm(GOLDEN / "fleet.values.yaml").stdout
        for kind, right, wrong in [
            ("StatefulSet", "serviceName:", "serviceNames:"),
            ("ScaledObject", "maxReplicaCount: 20", "maxReplicas: 20"),
            ("PodMonitor", "podMetricsEndpoints:", "endpoints:"),
        ]:
            self.assertIn(right, rendered)
            code, said = self.validate(rendered.replace(right, wrong), KUBERNETES[-1])
            refused = {one["kind"] for one in said["resources"] if one["status"] == "statusInvalid"}
            self.assertEqual((code, refused), (1, {kind}), json.dumps(said, indent=1))

    def test_older_kubernetes_is_refused(self):
        rendered = helm(one_stream(), kubernetes="1.28.0")
        self.assertIn("incompatible with Kubernetes", rendered.stderr)

    def test_streams_run_with_the_configuration_that_comes_with_the_bridges(self):
        objects = render({"streams": {name: {} for name in STREAMS}})
        for name in STREAMS:
            data = objects["ConfigMap", f"live-{name}"]["data"]
            self.assertEqual(set(data), {"default.toml", f"{name}.toml"})
            for file, text in data.items():
                self.assertEqual(text, (ROOT / "config" / file).read_text())

    def test_the_bridges_take_what_is_rendered(self):
        binaries = Path(os.environ.get("BRIDGE_BIN_DIR", ROOT / "target/debug"))
        values = {"connections": connections(), "streams": {name: {"paused": True, "partitions": 5} for name in STREAMS}}
        objects = render(values)
        everywhere = environment(render(values | {"listen": "[::]"})["StatefulSet", "live-job-metrics"])
        self.assertEqual(everywhere["BRIDGE__HTTP__LISTEN"], "[::]:9464")
        for name in STREAMS:
            binary = binaries / f"{name}-bridge"
            self.assertTrue(binary.is_file(), f"{binary} is missing: cargo build -p {name}-bridge, or set BRIDGE_BIN_DIR")
            with tempfile.TemporaryDirectory() as directory:
                for file, text in objects["ConfigMap", f"live-{name}"]["data"].items():
                    (Path(directory) / file).write_text(text)
                variables = environment(objects["StatefulSet", f"live-{name}"])
                variables["BRIDGE__KAFKA__INSTANCE_ID"] = f"live-{name}-0"
                checked = run(str(binary), "check", "--offline", "--config", directory, env=variables)
                self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)
                listening = {"BRIDGE__HTTP__LISTEN": everywhere["BRIDGE__HTTP__LISTEN"]}
                checked = run(str(binary), "check", "--offline", "--config", directory, env=variables | listening)
                self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)
                refused = run(str(binary), "check", "--offline", "--config", directory, env=variables | {"BRIDGE__NO__KEY": "1"})
                self.assertEqual(refused.returncode, 2, "it would take anything")

    def test_another_stream_needs_its_configuration(self):
        self.assertIn("streams.orders.config: no orders.toml comes with the chart", helm({"streams": {"orders": {}}}).stderr)
        text = '[stream]\nname = "orders"\n'
        objects = render({"streams": {"orders": {"config": text}}})
        self.assertEqual(objects["ConfigMap", "live-orders"]["data"]["orders.toml"], text)

    def test_static_members_are_called_as_their_pods_and_others_are_not_called_at_all(self):
        static = render(one_stream())["StatefulSet", "live-job-lifecycle"]
        self.assertEqual(environment(static)["BRIDGE__KAFKA__INSTANCE_ID"], {"fieldRef": {"fieldPath": "metadata.name"}})
        self.assertEqual(static["spec"]["serviceName"], "live-job-lifecycle")
        dynamic = render(one_stream(workload="Deployment"))["Deployment", "live-job-lifecycle"]
        self.assertNotIn("BRIDGE__KAFKA__INSTANCE_ID", environment(dynamic))
        # The next generation is there before the old one goes.
        self.assertEqual(dynamic["spec"]["strategy"]["rollingUpdate"], {"maxSurge": 1, "maxUnavailable": 0})

    def test_one_value_stops_pauses_and_pins_one_stream_alone(self):
        others = {name: {} for name in STREAMS}
        plain = render({"streams": others})
        for change, looked_at in [
            ({"replicas": 0}, lambda workload: workload["spec"]["replicas"] == 0),
            ({"paused": True}, lambda workload: environment(workload)["BRIDGE__STREAM__PAUSED"] == "true"),
            ({"image": {"tag": "9.9.9"}}, lambda workload: pod(workload)["containers"][0]["image"].endswith(":9.9.9")),
        ]:
            changed = render({"streams": others | {"audit-trail": change}})
            differ = {key for key in plain if plain[key] != changed[key]}
            self.assertEqual(differ, {("StatefulSet", "live-audit-trail")}, change)
            self.assertTrue(looked_at(changed["StatefulSet", "live-audit-trail"]), change)

    def test_a_stream_can_undo_what_defaults_say(self):
        values = one_stream(paused=False, replicas=0) | {"defaults": {"paused": True, "replicas": 2}}
        workload = render(values)["StatefulSet", "live-job-lifecycle"]
        self.assertNotIn("BRIDGE__STREAM__PAUSED", environment(workload))
        self.assertEqual(workload["spec"]["replicas"], 0)
        # Also by what is empty.
        values = one_stream(controlToken={}, env={"BRIDGE__KAFKA__BROKERS": ""})
        values["defaults"] = {"controlToken": {"secret": "a", "key": "b"}, "env": {"BRIDGE__KAFKA__BROKERS": "elsewhere:9092"}}
        workload = render(values | {"connections": connections()})["StatefulSet", "live-job-lifecycle"]
        self.assertNotIn("BRIDGE__HTTP__TOKEN_FILE", environment(workload))
        self.assertEqual(environment(workload)["BRIDGE__KAFKA__BROKERS"], "")

    def test_a_pod_is_granted_more_time_than_the_bridge_takes(self):
        for seconds in (None, 1, 600):
            stream = {} if seconds is None else {"shutdownDeadlineSeconds": seconds}
            workload = render(one_stream(**stream))["StatefulSet", "live-job-lifecycle"]
            deadline = int(environment(workload)["BRIDGE__SHUTDOWN__DEADLINE_SECONDS"])
            self.assertEqual(deadline, seconds or 25)
            self.assertGreater(pod(workload)["terminationGracePeriodSeconds"], deadline)

    def test_a_changed_configuration_starts_the_pods_of_its_stream_again(self):
        def checksum(values, name):
            template = render(values)["StatefulSet", f"live-{name}"]["spec"]["template"]
            return template["metadata"]["annotations"]["checksum/config"]

        two = {"job-lifecycle": {"config": "# a"}, "job-metrics": {"config": "# a"}}
        changed = two | {"job-lifecycle": {"config": "# b"}}
        self.assertNotEqual(checksum({"streams": two}, "job-lifecycle"), checksum({"streams": changed}, "job-lifecycle"))
        self.assertEqual(checksum({"streams": two}, "job-metrics"), checksum({"streams": changed}, "job-metrics"))

    def test_pods_are_as_restricted_as_the_strictest_policy_wants(self):
        for (kind, name), found in render(GOLDEN / "fleet.values.yaml").items():
            if kind not in ("StatefulSet", "Deployment", "Job"):
                continue
            spec = pod(found)
            self.assertFalse(spec["automountServiceAccountToken"], name)
            self.assertTrue(spec["securityContext"]["runAsNonRoot"], name)
            self.assertEqual(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", name)
            for container in spec["containers"]:
                context = container["securityContext"]
                self.assertEqual(context["capabilities"]["drop"], ["ALL"], name)
                self.assertFalse(context["allowPrivilegeEscalation"], name)
                self.assertTrue(context["readOnlyRootFilesystem"], name)
                self.assertIn("memory", container["resources"]["limits"], name)

    def test_autoscaling_never_goes_above_the_partitions_and_alone_says_how_many(self):
        objects = render(GOLDEN / "fleet.values.yaml")
        scaled = {name: found for (kind, name), found in objects.items() if kind == "ScaledObject"}
        self.assertEqual(set(scaled), {"live-job-metrics", "live-notifications", "live-audit-trail"})
        for name, partitions, least in [("live-job-metrics", 20, 0), ("live-notifications", 5, 1), ("live-audit-trail", 5, 1)]:
            spec = scaled[name]["spec"]
            self.assertEqual((spec["maxReplicaCount"], spec["minReplicaCount"]), (partitions, least))
            target = spec["scaleTargetRef"]
            # What is scaled has no number of its own, not even none: helm and KEDA would both own it.
            self.assertNotIn("replicas", objects[target["kind"], target["name"]]["spec"])
        trigger = scaled["live-job-metrics"]["spec"]["triggers"][0]
        self.assertEqual(trigger["metadata"]["consumerGroup"], "bridge-job-metrics")

    def test_autoscaling_wakes_no_stream_that_is_stopped_or_paused(self):
        scaling = {"partitions": 5, "autoscaling": {"enabled": True, "kafka": {"topic": "job-lifecycle", "lag": 1}}}
        for more, annotations in [
            ({}, None),
            ({"replicas": 0}, {"autoscaling.keda.sh/paused-replicas": "0"}),
            ({"paused": True}, {"autoscaling.keda.sh/paused": "true"}),
            ({"paused": True, "replicas": 0}, {"autoscaling.keda.sh/paused-replicas": "0"}),
        ]:
            objects = render({"connections": connections()} | one_stream(**scaling, **more))
            self.assertEqual(objects["ScaledObject", "live-job-lifecycle"]["metadata"].get("annotations"), annotations)

    def test_secrets_are_named_and_never_written_down(self):
        objects = render(GOLDEN / "fleet.values.yaml")
        self.assertFalse([name for kind, name in objects if kind == "Secret"])
        variables = environment(objects["StatefulSet", "live-notifications"])
        self.assertEqual(variables["BRIDGE__RABBITMQ__PASSWORD"], {"secretKeyRef": {"name": "rabbitmq", "key": "password"}})
        self.assertEqual(variables["BRIDGE__HTTP__TOKEN_FILE"], "/secrets/control/token")

    def test_the_rules_are_those_of_the_repository(self):
        files = sorted((ROOT / "deploy/prometheus/rules").glob("*.yml"))
        self.assertTrue(files, "there are no rules to compare with")
        objects = render(with_rules())
        found = [found["spec"] for (kind, _), found in objects.items() if kind == "PrometheusRule"]
        self.assertCountEqual(found, [yaml.safe_load(file.read_text()) for file in files])

    def test_the_rules_name_the_runbooks_where_they_are(self):
        for url in ("https://wiki.example.com/runbooks", "https://wiki.example.com/runbooks/"):
            settings = render(with_rules(runbooksUrl=url))["PrometheusRule", "live-settings"]["spec"]
            rules = [rule for group in settings["groups"] for rule in group["rules"] if rule["record"] == "stream_bridge:runbooks"]
            self.assertEqual([rule["labels"]["url"] for rule in rules], ["https://wiki.example.com/runbooks"])

    def test_streams_without_an_instance_on_purpose_are_not_missed(self):
        self.assertNotIn(("PrometheusRule", "live-may-be-absent"), render(with_rules()))
        kafka = {"enabled": True, "scaleToZero": True, "kafka": {"topic": "job-metrics", "lag": 1}}
        streams = {"job-lifecycle": {"replicas": 0}, "job-metrics": {"partitions": 5, "autoscaling": kafka}, "notifications": {}}
        values = with_rules() | {"connections": connections(), "streams": streams}
        rule = render(values)["PrometheusRule", "live-may-be-absent"]
        (group,) = rule["spec"]["groups"]
        self.assertEqual([one["labels"]["stream"] for one in group["rules"]], ["job-lifecycle", "job-metrics"])
        for one in group["rules"]:
            self.assertEqual((one["record"], one["expr"]), ("stream:stream_bridge_may_be_absent", "vector(1)"))
            # The name that the rules ask for.
            self.assertIn(one["record"], (ROOT / "deploy/prometheus/rules/recording.yml").read_text())
        code, said = self.validate(yaml.safe_dump(rule), KUBERNETES[-1])
        self.assertEqual(code, 0, said)

    def test_the_setup_job_may_connect_where_the_bridges_may(self):
        objects = render(GOLDEN / "fleet.values.yaml")
        policy = objects["NetworkPolicy", "live-setup"]
        self.assertEqual(policy["spec"]["egress"], objects["NetworkPolicy", "live-job-lifecycle"]["spec"]["egress"])
        labels = objects["Job", "live-setup"]["spec"]["template"]["metadata"]["labels"]
        self.assertLessEqual(policy["spec"]["podSelector"]["matchLabels"].items(), labels.items())
        # It is there before the job, which is a hook, too.
        self.assertEqual(policy["metadata"]["annotations"]["helm.sh/hook-weight"], "-1")
        without = render({"setup": {"enabled": True}, "networkPolicy": {"enabled": False}} | one_stream())
        self.assertFalse([name for kind, name in without if kind == "NetworkPolicy"])

    def test_names_that_yaml_would_take_for_something_else(self):
        objects = render({"streams": {"null": {"config": "#"}, "true": {"config": "#"}}, "setup": {"enabled": True}}, release="y")
        self.assertEqual(objects["StatefulSet", "y-null"]["metadata"]["labels"]["app.kubernetes.io/component"], "null")
        self.assertEqual(pod(objects["Job", "y-setup"])["containers"][0]["args"][:3], ["setup", "null", "true"])


def with_rules(**rules):
    return {"monitoring": {"rules": {"enabled": True} | rules}} | one_stream()


def connections():
    return {"kafkaBrokers": "kafka:9092", "pulsarUrl": "pulsar://pulsar:6650", "pulsarAdminUrl": "http://pulsar:8080"}


class WrongValues(unittest.TestCase):
    """Each is refused, by words that tell where it is."""

    def refused(self, values, *words, **more):
        rendered = helm(values, **more)
        self.assertNotEqual(rendered.returncode, 0, f"taken: {values}")
        for word in words:
            self.assertIn(word, rendered.stderr)

    def test_a_scaler_of_another_group_than_the_bridge_s(self):
        scaling = {"enabled": True, "kafka": {"topic": "job-lifecycle", "lag": 1000}}
        values = one_stream(autoscaling=scaling, partitions=10, env={"BRIDGE__KAFKA__GROUP_PREFIX": "astro."})
        values["connections"] = {"kafkaBrokers": "kafka:9092"}
        self.refused(values, "streams.job-lifecycle.autoscaling.kafka.consumerGroup", "group_prefix")
        scaling["kafka"]["consumerGroup"] = "astro.job-lifecycle"
        self.assertEqual(helm(values).returncode, 0)

    def test_unknown_keys(self):
        self.refused({"stream": {}}, "stream", "not allowed")
        self.refused(one_stream(replica=2), "/streams/job-lifecycle", "replica")
        self.refused(one_stream(autoscaling={"max": 3}), "/streams/job-lifecycle/autoscaling", "max")

    def test_wrong_types_and_numbers(self):
        self.refused(one_stream(replicas="two"), "/streams/job-lifecycle/replicas", "integer")
        self.refused(one_stream(replicas=-1), "/streams/job-lifecycle/replicas", "minimum")
        self.refused(one_stream(paused="yes"), "/streams/job-lifecycle/paused", "boolean")
        self.refused(one_stream(workload="DaemonSet"), "/streams/job-lifecycle/workload", "StatefulSet")
        self.refused(one_stream(shutdownDeadlineSeconds=601), "/streams/job-lifecycle/shutdownDeadlineSeconds", "maximum")

    def test_variables_that_no_bridge_reads(self):
        self.refused(one_stream(env={"KAFKA_BROKERS": "x"}), "/streams/job-lifecycle/env", "KAFKA_BROKERS")
        self.refused(one_stream(env={"BRIDGE__LIMITS__MEMORY_MIB": 64}), "/streams/job-lifecycle/env", "string")

    def test_names_that_kubernetes_does_not_take(self):
        self.refused({"streams": {"Job_Lifecycle": {}}}, "/streams", "Job_Lifecycle")
        self.refused({"streams": {"0-jobs": {}}}, "/streams", "0-jobs")
        # Their objects would be those of the setup job, or their file the one that all share.
        self.refused({"streams": {"setup": {}}}, "streams.setup")
        self.refused({"streams": {"default": {}}}, "streams.default")
        self.refused(one_stream(), "1-live", "small letter", release="1-live")
        self.refused(one_stream(), "live.eu", "small letter", release="live.eu")

    def test_names_that_would_be_cut(self):
        # 39 characters, and 13 of "job-lifecycle" with its dash would be 53.
        self.refused(one_stream(), "has 53 characters, and 52 is what fits", release="l" * 39)
        self.assertIn(("Service", "l" * 38 + "-job-lifecycle"), render(one_stream(), release="l" * 38))

    def test_variables_that_the_chart_sets_itself(self):
        for variable, value in [
            ("BRIDGE__HTTP__LISTEN", "listen"),
            ("BRIDGE__SHUTDOWN__DEADLINE_SECONDS", "shutdownDeadlineSeconds"),
            ("BRIDGE__STREAM__PAUSED", "paused"),
            ("BRIDGE__HTTP__TOKEN_FILE", "controlToken"),
            ("BRIDGE__KAFKA__INSTANCE_ID", "workload"),
        ]:
            self.refused(one_stream(env={variable: "1"}), f"streams.job-lifecycle.env.{variable}", f"`{value}`")
        secret = {"BRIDGE__KAFKA__INSTANCE_ID": {"secret": "a", "key": "b"}}
        self.refused(one_stream(workload="Deployment", secretEnv=secret), "streams.job-lifecycle.secretEnv.BRIDGE__KAFKA__INSTANCE_ID")
        self.refused({"setup": {"enabled": True, "env": {"BRIDGE__STREAM__PAUSED": "true"}}} | one_stream(), "setup.env.BRIDGE__STREAM__PAUSED")

    def test_variables_that_the_setup_job_does_not_see(self):
        topic = {"BRIDGE__TARGET__TOPIC": "persistent://public/default/a"}
        stream = one_stream(env=topic | {"BRIDGE__LIMITS__MEMORY_MIB": "64"})
        render(stream)
        for env in ({}, {"BRIDGE__TARGET__TOPIC": "persistent://public/default/b"}):
            values = stream | {"setup": {"enabled": True, "env": env}}
            self.refused(values, "streams.job-lifecycle.env.BRIDGE__TARGET__TOPIC", "write it into streams.job-lifecycle.config")
        render(stream | {"setup": {"enabled": True, "env": topic}})
        secret = {"BRIDGE__SOURCE__BROKERS__ENDPOINT__A__PASSWORD": {"secret": "a", "key": "b"}}
        stream = one_stream(secretEnv=secret)
        self.refused(stream | {"setup": {"enabled": True}}, "streams.job-lifecycle.secretEnv.BRIDGE__SOURCE__")
        render(stream | {"setup": {"enabled": True, "secretEnv": secret}})

    def test_labels_and_annotations_that_are_the_charts(self):
        self.refused(one_stream(podLabels={"app.kubernetes.io/component": "x"}), "/streams/job-lifecycle/podLabels")
        self.refused(one_stream(podAnnotations={"checksum/config": "x"}), "/streams/job-lifecycle/podAnnotations")

    def test_a_disruption_budget_that_lets_nothing_go(self):
        for share in ("0%", "101%", "00%"):
            where = "/streams/job-lifecycle/podDisruptionBudget/maxUnavailable"
            self.refused(one_stream(podDisruptionBudget={"maxUnavailable": share}), where)

    def test_a_monitor_that_nobody_lets_in(self):
        monitor = {"monitoring": {"podMonitor": {"enabled": True}}} | one_stream()
        self.refused(monitor, "networkPolicy.ingressFrom", "podMonitor")
        render(monitor | {"networkPolicy": {"enabled": False}})

    def test_addresses(self):
        self.refused({"listen": "127.0.0.1"}, "/listen")
        self.refused(with_rules(runbooksUrl="wiki"), "/monitoring/rules/runbooksUrl")
        self.refused({"networkPolicy": {"dnsPorts": []}}, "/networkPolicy/dnsPorts")

    def test_passwords_in_urls(self):
        for key, url in [
            ("rabbitmqUrl", "amqp://guest:guest@rabbitmq:5672"),
            ("pulsarUrl", "pulsar://admin:secret@pulsar:6650"),
            ("pulsarAdminUrl", "https://admin:secret@pulsar:8443"),
        ]:
            self.refused({"connections": {key: url}}, f"/connections/{key}")

    def test_more_instances_than_partitions(self):
        self.refused(one_stream(replicas=11, partitions=10), "streams.job-lifecycle.replicas: 11 instances for 10 partitions")

    def test_autoscaling_without_what_it_needs(self):
        kafka = {"topic": "job-lifecycle", "lag": 1000}
        self.refused(one_stream(autoscaling={"enabled": True, "kafka": kafka}), "streams.job-lifecycle.partitions: autoscaling needs it")
        self.refused(one_stream(partitions=10, autoscaling={"enabled": True}), "nothing to scale by")
        self.refused(one_stream(partitions=2, autoscaling={"enabled": True, "kafka": kafka, "minReplicas": 3}), "above the 2 partitions")
        self.refused(one_stream(partitions=1, autoscaling={"enabled": True, "kafka": kafka}), "connections.kafkaBrokers")
        self.refused(one_stream(autoscaling={"kafka": {"topic": "job-lifecycle"}}), "/streams/job-lifecycle/autoscaling/kafka", "lag")
        queue = {"queue": "bridge-notifications", "length": 10}
        self.refused(one_stream(autoscaling={"rabbitmq": queue}), "/streams/job-lifecycle/autoscaling/rabbitmq", "authenticationRef")

    def test_a_secret_over_the_configuration(self):
        below = ("/config", "/config/tls", "/secrets", "/secrets/control", "/secrets/control/a")
        for path in (*below, "/secrets/../config", "//config", "/a b", "a"):
            self.refused(one_stream(secretFiles=[{"secret": "a", "mountPath": path}]), "/streams/job-lifecycle/secretFiles/0/mountPath")


class Compose(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        checked = run(os.environ["COMPOSE_CHECK"], str(COMPOSE))
        if checked.returncode:
            raise AssertionError(checked.stderr)
        cls.services = json.loads(checked.stdout)["services"]

    def test_every_image_is_pinned(self):
        for name, service in self.services.items():
            tag = service["image"].rpartition(":")[2]
            self.assertTrue(tag[:1].isdigit() or tag[:2] in ("v3",), f"{name}: {service['image']}")

    def test_everything_is_confined_and_bounded(self):
        for name, service in self.services.items():
            self.assertEqual(service["security_opt"], ["no-new-privileges:true"], name)
            self.assertEqual(service["cap_drop"], ["ALL"], name)
            self.assertIn("mem_limit", service, name)
            self.assertIn("pids_limit", service, name)
            for port in service.get("ports", []):
                self.assertEqual(port["host_ip"], "127.0.0.1", name)

    def test_whatever_goes_on_running_has_a_healthcheck(self):
        jobs = {name for name, service in self.services.items() if service["restart"] == "on-failure"}
        self.assertEqual(jobs, {"topics", "exchanges", "setup"})
        without = {name for name, service in self.services.items() if not service.get("healthcheck", {}).get("test")}
        self.assertEqual(without, jobs)

    def test_each_stream_has_its_bridge_on_its_port_after_the_setup(self):
        for name in STREAMS:
            service = self.services[name]
            port = tomllib.loads((ROOT / f"config/{name}.toml").read_text())["http"]["listen"].rpartition(":")[2]
            self.assertEqual([str(one["target"]) for one in service["ports"]], [port])
            self.assertTrue(service["read_only"])
            self.assertEqual(service["build"]["args"]["BRIDGE"], name)
            self.assertEqual(service["depends_on"]["setup"]["condition"], "service_completed_successfully")
            self.assertNotIn("volumes", service)

    def test_what_is_mounted_from_the_repository_is_there(self):
        for name, service in self.services.items():
            for volume in service.get("volumes", []):
                if volume["type"] == "bind":
                    self.assertTrue(Path(volume["source"]).is_dir(), f"{name}: {volume['source']}")
                    self.assertTrue(volume["read_only"], f"{name}: {volume['source']}")

    def test_what_compose_would_refuse_is_noticed(self):
        text = COMPOSE.read_text()
        for right, wrong, words in [
            ("    mem_limit: 2560m", "    memory_limit: 2560m", "memory_limit"),
            ("      pulsar: { condition: service_healthy }\n      registry", "      pulsars: { condition: service_healthy }\n      registry", "pulsars"),
            ('volumes: ["pulsar:/pulsar/data"]', 'volumes: ["bookies:/pulsar/data"]', "bookies"),
        ]:
            self.assertIn(right, text)
            with tempfile.NamedTemporaryFile("w", suffix=".yaml", dir=COMPOSE.parent) as file:
                file.write(text.replace(right, wrong))
                file.flush()
                checked = run(os.environ["COMPOSE_CHECK"], file.name)
            self.assertEqual(checked.returncode, 1)
            self.assertIn(words, checked.stderr)


class Images(unittest.TestCase):
    """What an image is built from, without building one."""

    @staticmethod
    def members():
        manifest = tomllib.loads((ROOT / "Cargo.toml").read_text())
        for pattern in manifest["workspace"]["members"]:
            yield from (found.relative_to(ROOT) for found in sorted(ROOT.glob(f"{pattern}/Cargo.toml")))

    @staticmethod
    def is_let_in(path):
        """As Docker reads .dockerignore: the last line that fits the file, or a folder that it is in, decides."""
        let_in = True
        for line in (ROOT / ".dockerignore").read_text().splitlines():
            if line and not line.startswith("#"):
                pattern = line.removeprefix("!")
                if any(fnmatch.fnmatchcase(str(part), pattern) for part in [path, *path.parents]):
                    let_in = line.startswith("!")
        return let_in

    def test_the_manifests_of_all_members_are_in_the_context_and_make_a_workspace_of_stubs(self):
        members = list(self.members())
        self.assertGreater(len(members), len(STREAMS))
        self.assertEqual([str(path) for path in members if not self.is_let_in(path)], [], ".dockerignore leaves them out")
        self.assertFalse(self.is_let_in(Path("tests/run")), "it would let in anything")
        with tempfile.TemporaryDirectory() as directory:
            context, stubs = Path(directory, "context"), Path(directory, "stubs")
            for path in [Path("Cargo.toml"), Path("Cargo.lock"), *members]:
                self.assertTrue(self.is_let_in(path), path)
                (context / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / path, context / path)
            shutil.copytree(ROOT / ".cargo", context / ".cargo")
            made = run(str(ROOT / "deploy/docker/stub-sources"), str(stubs), cwd=context)
            self.assertEqual(made.returncode, 0, made.stderr)
            # It compiles nothing.
            read = run("cargo", "metadata", "--offline", "--no-deps", "--format-version", "1", cwd=stubs)
            self.assertEqual(read.returncode, 0, read.stderr)
            packages = json.loads(read.stdout)["packages"]
            found = {Path(package["manifest_path"]).relative_to(stubs.resolve()) for package in packages}
            self.assertEqual(found, set(members))
            for package in packages:
                for target in package["targets"]:
                    self.assertTrue(Path(target["src_path"]).is_file(), target["src_path"])


class Result(unittest.TextTestResult):
    """A line for every test as it ends, as all parts of tests/run have it."""

    def addSuccess(self, test):
        super().addSuccess(test)
        self.tell(test, "ok")

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.tell(test, "FAILED")

    def addError(self, test, error):
        super().addError(test, error)
        self.tell(test, "FAILED")

    def tell(self, test, how):
        print(f"test {test.id().removeprefix('__main__.')} ... {how}", flush=True)


def main():
    program = unittest.main(testRunner=unittest.TextTestRunner(resultclass=Result, verbosity=0), exit=False)
    result = program.result
    bad = len(result.failures) + len(result.errors)
    print(f"test result: {'FAILED' if bad else 'ok'}. {result.testsRun - bad} passed; {bad} failed")
    sys.exit(1 if bad or not result.testsRun else 0)


if __name__ == "__main__":
    main()
