{{- /* _proxy.tpl: the proxy's container and its configuration, the same in a stack and as a gateway. */ -}}

{{- /* include "sidestream.config" (list . UPSTREAM): the configuration of an instance that follows UPSTREAM, or nobody. */ -}}
{{- define "sidestream.config" -}}
{{- $top := index . 0 -}}
{{- $config := dict
      "listen" "0.0.0.0:6379" "service-listen" "0.0.0.0:6377" "read-listen" "0.0.0.0:6378" "admin" "0.0.0.0:9180"
      "dir" "/var/lib/sidestream" "announce-port" 6379 "log" (dict "format" "json") -}}
{{- /* Endpoints take some seconds to forget a pod; the time limit counts for the handover and again for the clients. */ -}}
{{- $limit := div (sub (int $top.Values.drainSeconds) 5) 2 -}}
{{- $_ := set $config "drain" (dict "grace" "5s" "timeout" (printf "%ds" (max 1 $limit))) -}}
{{- if eq $top.Values.mode "stack" -}}
{{- $_ := set $config "announce-ip" (printf "${POD_NAME}.%s" (include "sidestream.domain" $top)) -}}
{{- $_ := set $config "nodes" (list (dict "address" "127.0.0.1:6380")) -}}
{{- if $top.Values.sentinel.enabled -}}
{{- /* So that a primary which comes back takes no writes while they name another. */ -}}
{{- $addresses := list -}}
{{- range until (int $top.Values.sentinel.replicas) -}}
{{- $name := include "sidestream.sentinel" $top -}}
{{- $addresses = append $addresses (printf "%s-%d.%s.%s.svc.%s:26379" $name . $name $top.Release.Namespace $top.Values.clusterDomain) -}}
{{- end -}}
{{- $_ := set $config "sentinel" (dict "master-name" $top.Values.sentinel.masterName "addresses" $addresses) -}}
{{- end -}}
{{- else if $top.Values.gateway.sentinel.addresses -}}
{{- $sentinel := $top.Values.gateway.sentinel -}}
{{- $_ := set $config "sentinel" (dict "master-name" $sentinel.masterName "addresses" $sentinel.addresses) -}}
{{- $_ := set $config "announce-ip" "${POD_IP}" -}}
{{- else -}}
{{- $nodes := list -}}
{{- range $top.Values.gateway.nodes }}{{ $nodes = append $nodes (dict "address" .) }}{{ end -}}
{{- $_ := set $config "nodes" $nodes -}}
{{- $_ := set $config "announce-ip" "${POD_IP}" -}}
{{- end -}}
{{- with index . 1 }}{{ $_ := set $config "replicaof" . }}{{ end -}}
{{- if $top.Values.auth.existingSecret -}}
{{- $_ := set $config "requirepass-file" "/etc/sidestream/secret/password" -}}
{{- $_ := set $config "masterauth-file" "/etc/sidestream/secret/password" -}}
{{- else -}}
{{- /* Whoever reaches the pod may do everything, as with the servers themselves: the network policy decides who does. */ -}}
{{- $_ := set $config "protected-mode" false -}}
{{- end -}}
{{- toYaml (mustMergeOverwrite $config (deepCopy $top.Values.config)) -}}
{{- end -}}

{{- /* include "sidestream.proxy" (list . FILE): the container. Ports are numbers wherever they are used: names of native
       sidecars resolve only from Kubernetes 1.32 on. */ -}}
{{- define "sidestream.proxy" -}}
{{- $top := index . 0 -}}
name: sidestream
image: {{ include "sidestream.image" $top }}
imagePullPolicy: {{ $top.Values.image.pullPolicy }}
args:
  - --config
  - {{ index . 1 }}
{{- with $top.Values.extraArgs }}
{{ toYaml . | indent 2 }}
{{- end }}
env:
  - name: POD_NAME
    valueFrom: {fieldRef: {fieldPath: metadata.name}}
  - name: POD_IP
    valueFrom: {fieldRef: {fieldPath: status.podIP}}
  {{- if eq $top.Values.mode "stack" }}
  - name: POD_INDEX
    valueFrom: {fieldRef: {fieldPath: "metadata.labels['apps.kubernetes.io/pod-index']"}}
  {{- end }}
  {{- if and (eq $top.Values.mode "stack") $top.Values.sentinel.enabled $top.Values.auth.existingSecret }}
  # The one password that can be no file yet: that of the Sentinels.
  - name: SIDESTREAM_SENTINEL_PASSWORD
    valueFrom: {secretKeyRef: {name: {{ $top.Values.auth.existingSecret }}, key: {{ $top.Values.auth.key }}}}
  {{- end }}
{{- with $top.Values.extraEnv }}
{{ toYaml . | indent 2 }}
{{- end }}
ports:
  - {name: node, containerPort: 6379}
  - {name: service, containerPort: 6377}
  - {name: read, containerPort: 6378}
  - {name: admin, containerPort: 9180}
# Bound and configured: never whether a server answers, which starts only after this.
startupProbe:
  httpGet: {path: /startupz, port: 9180}
  periodSeconds: 1
  failureThreshold: 30
# The loop turns: never whether anybody is in sync.
livenessProbe:
  httpGet: {path: /livez, port: 9180}
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 3
# The server answers, the stream arrives, the first sync is complete.
readinessProbe:
  httpGet: {path: /readyz, port: 9180}
  periodSeconds: 2
  timeoutSeconds: 1
  failureThreshold: 2
lifecycle:
  preStop:
    exec:
      command: [/usr/bin/sidestream, drain, --wait, {{ $top.Values.drainSeconds }}s]
resources:
{{ toYaml $top.Values.resources | indent 2 }}
securityContext:
{{ include "sidestream.containerSecurity" $top | indent 2 }}
volumeMounts:
  - {name: config, mountPath: /etc/sidestream/config, readOnly: true}
  - {name: state, mountPath: /var/lib/sidestream, subPath: sidestream}
{{- if $top.Values.auth.existingSecret }}
  - {name: secret, mountPath: /etc/sidestream/secret, readOnly: true}
{{- end }}
{{- with $top.Values.extraVolumeMounts }}
{{ toYaml . | indent 2 }}
{{- end }}
{{- end -}}

{{- /* What every pod of ours says besides its containers and volumes: include "sidestream.pod-settings" (list . COMPONENT) */ -}}
{{- define "sidestream.pod-settings" -}}
{{- $top := index . 0 -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
{{ toYaml $top.Values.podSecurityContext | indent 2 }}
{{- with $top.Values.imagePullSecrets }}
imagePullSecrets:
{{ toYaml . | indent 2 }}
{{- end }}
{{- with $top.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $top.Values.nodeSelector }}
nodeSelector:
{{ toYaml . | indent 2 }}
{{- end }}
{{- with $top.Values.tolerations }}
tolerations:
{{ toYaml . | indent 2 }}
{{- end }}
{{- with $top.Values.affinity }}
affinity:
{{ toYaml . | indent 2 }}
{{- end }}
topologySpreadConstraints:
{{- if $top.Values.topologySpreadConstraints }}
{{ toYaml $top.Values.topologySpreadConstraints | indent 2 }}
{{- else }}
{{- $component := index . 1 }}
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
{{ include "sidestream.selector" (list $top $component) | indent 8 }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* Behind a line break each, so that what includes them may be empty. */ -}}
{{- define "sidestream.secretVolume" -}}
{{- if .Values.auth.existingSecret }}
- name: secret
  secret:
    secretName: {{ .Values.auth.existingSecret }}
    defaultMode: 0440
    items: [{key: {{ .Values.auth.key }}, path: password}]
{{- end }}
{{- end -}}
{{- define "sidestream.volumes" -}}
{{- include "sidestream.secretVolume" . }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
