{{/* The streams with what each has after `defaults`, as one dict by name. */}}
{{- define "bridges.streams" -}}
{{- $streams := dict -}}
{{- range $name, $own := .Values.streams -}}
{{- $stream := mergeOverwrite (deepCopy $.Values.defaults) (deepCopy ($own | default dict)) -}}
{{- include "bridges.check" (dict "name" $name "stream" $stream) -}}
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

{{- define "bridges.fullname" -}}
{{- printf "%s-%s" .root.Release.Name .name | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "bridges.selector" -}}
app.kubernetes.io/name: stream-bridges
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end -}}

{{- define "bridges.labels" -}}
{{ include "bridges.selector" . }}
app.kubernetes.io/part-of: stream-bridges
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{/* An image: `own` is its repository, tag and digest, `binary` what it is called without them. */}}
{{- define "bridges.image" -}}
{{- $repository := .own.repository | default (printf "%s/%s" .root.Values.image.registry .binary) -}}
{{- if .own.digest -}}
{{ $repository }}@{{ .own.digest }}
{{- else -}}
{{ $repository }}:{{ .own.tag | default .root.Values.image.tag | default .root.Chart.AppVersion }}
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

{{/* Settings by variables: of the connections, of values, of Secrets. `from` has env and secretEnv. */}}
{{- define "bridges.env" -}}
{{- $connections := .root.Values.connections -}}
{{- $set := dict "BRIDGE__KAFKA__BROKERS" $connections.kafkaBrokers "BRIDGE__PULSAR__URL" $connections.pulsarUrl "BRIDGE__PULSAR__ADMIN_URL" $connections.pulsarAdminUrl "BRIDGE__RABBITMQ__URL" $connections.rabbitmqUrl "BRIDGE__RABBITMQ__MANAGEMENT_URL" $connections.rabbitmqManagementUrl "BRIDGE__REGISTRY__URL" $connections.registryUrl -}}
{{- $set = mergeOverwrite $set (.more | default dict) .from.env -}}
{{- range $variable, $value := $set }}
{{- if and $value (not (hasKey $.from.secretEnv $variable)) }}
- name: {{ $variable }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
{{- range $variable, $source := .from.secretEnv }}
- name: {{ $variable }}
  valueFrom:
    secretKeyRef:
      name: {{ $source.secret }}
      key: {{ $source.key }}
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
