{{/* The streams with what each has after `defaults`, as one dict by name. */}}
{{- define "bridges.streams" -}}
{{- $streams := dict -}}
{{- range $name, $own := .Values.streams -}}
{{- $own = $own | default dict -}}
{{- $stream := mergeOverwrite (deepCopy $.Values.defaults) (deepCopy $own) -}}
{{/* An empty dict changes nothing when it is merged, and is how a stream says that it has none. */}}
{{- if and (hasKey $own "controlToken") (not $own.controlToken) -}}
{{- $_ := set $stream "controlToken" dict -}}
{{- end -}}
{{- include "bridges.check" (dict "root" $ "name" $name "stream" $stream) -}}
{{- $_ := set $streams $name $stream -}}
{{- end -}}
{{- toJson $streams -}}
{{- end -}}

{{/* What a schema cannot say, since it compares values. */}}
{{- define "bridges.check" -}}
{{- $partitions := int .stream.partitions -}}
{{- $scaling := .stream.autoscaling -}}
{{- if eq .name "setup" -}}
{{- fail "streams.setup: the objects of the setup job have this name: call the stream otherwise" -}}
{{- end -}}
{{- if eq .name "default" -}}
{{- fail "streams.default: default.toml is what all streams share: call the stream otherwise" -}}
{{- end -}}
{{- include "bridges.checkEnv" (dict "where" (printf "streams.%s" .name) "from" .stream) -}}
{{- include "bridges.checkSetup" . -}}
{{- if and $partitions (gt (int .stream.replicas) $partitions) -}}
{{- fail (printf "streams.%s.replicas: %d instances for %d partitions: those above would be idle. Use at most %d" .name (int .stream.replicas) $partitions $partitions) -}}
{{- end -}}
{{- if $scaling.enabled -}}
{{- if not $partitions -}}
{{- fail (printf "streams.%s.partitions: autoscaling needs it, how many partitions the source has (1 for a queue): there are never more instances" .name) -}}
{{- end -}}
{{- if gt (int $scaling.minReplicas) $partitions -}}
{{- fail (printf "streams.%s.autoscaling.minReplicas: %d is above the %d partitions" .name (int $scaling.minReplicas) $partitions) -}}
{{- end -}}
{{- if not (or $scaling.kafka $scaling.rabbitmq) -}}
{{- fail (printf "streams.%s.autoscaling: nothing to scale by: give kafka (topic, lag), rabbitmq (queue, length), or both" .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Variables that the chart sets itself: twice in a list, it is up to the API server which one holds. */}}
{{- define "bridges.checkEnv" -}}
{{- $where := .where -}}
{{- $from := .from -}}
{{- $owned := dict "BRIDGE__HTTP__LISTEN" "the value `listen` says it, with the port that probes and Prometheus ask" "BRIDGE__SHUTDOWN__DEADLINE_SECONDS" "the value `shutdownDeadlineSeconds` says it, and the pod's grace period with it" "BRIDGE__STREAM__PAUSED" "the value `paused` says it, and autoscaling with it" "BRIDGE__HTTP__TOKEN_FILE" "the value `controlToken` says it, and mounts the file" "BRIDGE__KAFKA__INSTANCE_ID" "the value `workload` says it: each pod of a StatefulSet has its own name, and one name for all pods of a Deployment would have them drive each other out" -}}
{{- range $list := list "env" "secretEnv" -}}
{{- range $variable, $_ := get $from $list -}}
{{- if hasKey $owned $variable -}}
{{- fail (printf "%s.%s.%s: %s" $where $list $variable (get $owned $variable)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What the setup job makes follows from the files: a variable that the bridge alone sees would have it make something else. */}}
{{- define "bridges.checkSetup" -}}
{{- $name := .name -}}
{{- $stream := .stream -}}
{{- $setup := .root.Values.setup -}}
{{- if $setup.enabled -}}
{{- range $list := list "env" "secretEnv" -}}
{{- $known := get $setup $list -}}
{{- range $variable, $value := get $stream $list -}}
{{- if regexMatch "^BRIDGE__(TARGET|SETUP|SOURCE|ROUTE|DEDUPE|CONTRACT|FLEET|DEAD_LETTERS)__" $variable -}}
{{- if not (and (hasKey $known $variable) (deepEqual $value (get $known $variable))) -}}
{{- fail (printf "streams.%s.%s.%s: the setup job does not see it, and would set up something else: write it into streams.%s.config, or the same into setup.%s" $name $list $variable $name $list) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Names are never cut: two that differ at their ends alone would be the same. Kubernetes adds 11 characters to a StatefulSet's. */}}
{{- define "bridges.fullname" -}}
{{- $release := .root.Release.Name -}}
{{- if not (regexMatch "^[a-z][-a-z0-9]*$" $release) -}}
{{- fail (printf "the release is called %q: the names of Services come from it, which begin with a small letter and have small letters, digits and '-'" $release) -}}
{{- end -}}
{{- $fullname := printf "%s-%s" $release .name -}}
{{- if gt (len $fullname) 52 -}}
{{- fail (printf "%s has %d characters, and 52 is what fits: call the release or the stream by a shorter name" $fullname (len $fullname)) -}}
{{- end -}}
{{- $fullname -}}
{{- end -}}

{{- define "bridges.selector" -}}
app.kubernetes.io/name: stream-bridges
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .name | quote }}
{{- end -}}

{{- define "bridges.labels" -}}
{{ include "bridges.selector" . }}
app.kubernetes.io/part-of: stream-bridges
app.kubernetes.io/managed-by: {{ .root.Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | quote }}
{{- end -}}

{{- define "bridges.ruleLabels" -}}
app.kubernetes.io/name: stream-bridges
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- with .Values.monitoring.rules.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* An image: `own` is its repository, tag and digest, `binary` what it is called without them. */}}
{{- define "bridges.image" -}}
{{- $repository := .own.repository | default (printf "%s/%s" .root.Values.image.registry .binary) -}}
{{- if .own.digest -}}
{{ printf "%s@%s" $repository .own.digest | quote }}
{{- else -}}
{{ printf "%s:%s" $repository (.own.tag | default .root.Values.image.tag | default .root.Chart.AppVersion) | quote }}
{{- end -}}
{{- end -}}

{{/* default.toml and a stream's own file: of the values, or as they come with the bridges. */}}
{{- define "bridges.defaultToml" -}}
{{- .root.Values.defaultConfig | default (.root.Files.Get "config/default.toml") -}}
{{- end -}}

{{- define "bridges.streamToml" -}}
{{- $text := .stream.config | default (.root.Files.Get (printf "config/%s.toml" .name)) -}}
{{- if not $text -}}
{{- fail (printf "streams.%s.config: no %s.toml comes with the chart: give the stream's configuration as TOML text" .name .name) -}}
{{- end -}}
{{- $text -}}
{{- end -}}

{{/* Settings by variables: of the connections, where they are given, of values, of Secrets. `from` has env and secretEnv. */}}
{{- define "bridges.env" -}}
{{- $connections := .root.Values.connections -}}
{{- $set := dict "BRIDGE__KAFKA__BROKERS" $connections.kafkaBrokers "BRIDGE__PULSAR__URL" $connections.pulsarUrl "BRIDGE__PULSAR__ADMIN_URL" $connections.pulsarAdminUrl "BRIDGE__RABBITMQ__URL" $connections.rabbitmqUrl "BRIDGE__RABBITMQ__MANAGEMENT_URL" $connections.rabbitmqManagementUrl "BRIDGE__REGISTRY__URL" $connections.registryUrl -}}
{{- range $variable, $value := $set -}}
{{- if not $value -}}{{- $_ := unset $set $variable -}}{{- end -}}
{{- end -}}
{{- $set = mergeOverwrite $set (.more | default dict) .from.env -}}
{{- range $variable, $value := $set }}
{{- if not (hasKey $.from.secretEnv $variable) }}
- name: {{ $variable }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
{{- range $variable, $source := .from.secretEnv }}
- name: {{ $variable }}
  valueFrom:
    secretKeyRef:
      name: {{ $source.secret | quote }}
      key: {{ $source.key | quote }}
{{- end }}
{{- end -}}

{{/* Where a pod may connect to: DNS, and the brokers. */}}
{{- define "bridges.egress" -}}
- ports:
    {{- range .Values.networkPolicy.dnsPorts }}
    - {protocol: UDP, port: {{ int . }}}
    - {protocol: TCP, port: {{ int . }}}
    {{- end }}
- ports:
    {{- range .Values.networkPolicy.egressPorts }}
    - {protocol: TCP, port: {{ int . }}}
    {{- end }}
  {{- with .Values.networkPolicy.egressTo }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "bridges.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
# Secrets as files belong to this group.
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "bridges.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}
