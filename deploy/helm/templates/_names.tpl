{{- /* _names.tpl: names, labels, images, and the checks that no schema can express. */ -}}

{{- define "sidestream.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "sidestream.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "sidestream.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "sidestream.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "sidestream.headless" -}}{{ include "sidestream.fullname" . }}-headless{{- end -}}
{{- define "sidestream.sentinel" -}}{{ include "sidestream.fullname" . }}-sentinel{{- end -}}

{{- /* The name of pod NUMBER: include "sidestream.pod" (list . 0) */ -}}
{{- define "sidestream.pod" -}}
{{- $top := index . 0 -}}
{{- include "sidestream.fullname" $top }}-{{ index . 1 }}.{{ include "sidestream.domain" $top }}
{{- end -}}
{{- define "sidestream.domain" -}}
{{ include "sidestream.headless" . }}.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}
{{- end -}}

{{- /* Selectors never change, so they carry nothing that might: include "sidestream.selector" (list . "proxy") */ -}}
{{- define "sidestream.selector" -}}
{{- $top := index . 0 -}}
app.kubernetes.io/name: {{ include "sidestream.name" $top }}
app.kubernetes.io/instance: {{ $top.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "sidestream.labels" -}}
{{- $top := index . 0 -}}
{{ include "sidestream.selector" . }}
app.kubernetes.io/version: {{ $top.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: sidestream
app.kubernetes.io/managed-by: {{ $top.Release.Service }}
helm.sh/chart: {{ $top.Chart.Name }}-{{ $top.Chart.Version | replace "+" "_" }}
{{- with $top.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "sidestream.image" -}}
{{- $image := .Values.image -}}
{{- $name := required "image.repository: name the image that you built with deploy/image/Dockerfile and pushed" $image.repository -}}
{{- if $image.digest }}{{ $name }}@{{ $image.digest }}{{ else }}{{ $name }}:{{ default .Chart.AppVersion $image.tag }}{{ end -}}
{{- end -}}

{{- define "sidestream.nodeImage" -}}
{{- $image := .Values.node.image -}}
{{- if $image.digest }}{{ $image.repository }}@{{ $image.digest }}{{ else }}{{ $image.repository }}:{{ $image.tag }}{{ end -}}
{{- end -}}

{{- define "sidestream.checks" -}}
{{- if lt (int .Values.terminationGracePeriodSeconds) (add (int .Values.drainSeconds) 15 | int) -}}
{{- fail (printf "terminationGracePeriodSeconds (%v) must be at least drainSeconds + 15 (%v): the proxy would be killed while clients leave" .Values.terminationGracePeriodSeconds (add (int .Values.drainSeconds) 15)) -}}
{{- end -}}
{{- if eq .Values.mode "gateway" -}}
{{- $gateway := .Values.gateway -}}
{{- if and (empty $gateway.nodes) (empty $gateway.replicaof) (empty $gateway.sentinel.addresses) -}}
{{- fail "gateway.nodes: name at least one server as HOST:PORT, or gateway.sentinel.addresses, or gateway.replicaof" -}}
{{- end -}}
{{- if and $gateway.sentinel.addresses (empty $gateway.sentinel.masterName) -}}
{{- fail "gateway.sentinel.masterName: the name that your Sentinels have for these servers (SENTINEL MASTERS lists it)" -}}
{{- end -}}
{{- if and $gateway.sentinel.addresses (or $gateway.nodes $gateway.replicaof) -}}
{{- fail "gateway.sentinel.addresses: leave gateway.nodes and gateway.replicaof out, the Sentinels name the servers" -}}
{{- end -}}
{{- if and $gateway.nodes (gt (int $gateway.replicas) 1) -}}
{{- fail "gateway.replicas: with gateway.nodes only 1, since every instance would tell the same nodes to follow it" -}}
{{- end -}}
{{- else if and .Values.sentinel.enabled (gt (int .Values.sentinel.quorum) (int .Values.sentinel.replicas)) -}}
{{- fail (printf "sentinel.quorum (%v) is more than there are Sentinels (%v)" .Values.sentinel.quorum .Values.sentinel.replicas) -}}
{{- end -}}
{{- end -}}

{{- /* What is the same for every container: nothing that the restricted Pod Security Standard forbids. */ -}}
{{- define "sidestream.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}
