{{/*
Parts of a pod: metadata, scheduling, security contexts, environment, probes. The security contexts fulfil the standard
`restricted`.
*/}}

{{/* The metadata of a pod: the chart's `labels` and `annotations`, and the values' labels and annotations of pods. */}}
{{- define "common.podMetadata" -}}
{{- $values := .root.Values -}}
metadata:
  labels:
    {{- merge (dict) .labels ($values.podLabels | default dict) | toYaml | nindent 4 }}
  {{- with merge (dict) (.annotations | default dict) ($values.podAnnotations | default dict) }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* The nodes on which pods may run, and their priority. The scope is the mapping that has these values. */}}
{{- define "common.scheduling" -}}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- range $field := list "nodeSelector" "tolerations" "affinity" }}
{{- with get $ $field }}
{{ $field }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{/*
The scheduling of a pod that is not a replica: of a Job, or of `helm test`. The pod gets only the affinity to nodes. The
affinity to pods spreads the replicas. A Job's pod with the replicas' anti-affinity finds no node when each node has a
replica, and an upgrade waits for this Job.
*/}}
{{- define "common.jobScheduling" -}}
{{- $values := .root.Values -}}
{{- $affinity := pick ($values.affinity | default dict) "nodeAffinity" -}}
{{- include "common.scheduling" (set (pick $values "nodeSelector" "tolerations" "priorityClassName") "affinity" $affinity) -}}
{{- end -}}

{{- define "common.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "common.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop:
    - ALL
{{- end -}}

{{/* One environment variable from a secret. */}}
{{- define "common.secretEnv" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret }}
      key: {{ .key }}
      {{- if .optional }}
      optional: true
      {{- end }}
{{- end -}}

{{/* The variables that come from the secret with addresses and passwords. */}}
{{- define "common.secretVariables" -}}
{{- $values := .root.Values -}}
{{- range .service.secrets }}
{{ include "common.secretEnv" (dict "name" .variable "secret" ($values.existingSecret | default $values.global.existingSecret) "key" (get $values.secretKeys .key) "optional" .optional) }}
{{- end }}
{{- end -}}

{{- define "common.env" -}}
{{- $values := .root.Values -}}
- name: SVGX_CONFIG
  value: /etc/svgx/config.yaml
- name: API_HOST
  value: {{ $values.global.listenAddress | quote }}
- name: NATS_URL
  value: {{ include "common.natsUrl" . | default (printf "nats://%s:4222" (include "common.fullname" (dict "root" (dict "Values" dict "Release" .root.Release) "service" (dict "name" "nats")))) | quote }}
{{ include "common.secretEnv" (dict "name" "NATS_NKEY_SEED" "secret" ($values.nats.existingSecret | default $values.global.nats.existingSecret) "key" (printf "%s-seed" .service.name)) }}
{{- include "common.secretVariables" . }}
{{- include "common.backupEnv" . }}
- name: DRAIN_SECONDS
  value: {{ $values.drain.seconds | quote }}
{{- if .service.public }}
- name: DRAIN_NOTICE_SECONDS
  value: {{ $values.drain.noticeSeconds | quote }}
- name: WEBSOCKET_DRAIN_SECONDS
  value: {{ $values.drain.websocketSeconds | quote }}
{{- end }}
{{- if dig "existingSecret" "" ($values.admin | default dict) }}
{{- range list "username" "email" "password" }}
{{ include "common.secretEnv" (dict "name" (printf "SVGX_ADMIN_%s" (upper .)) "secret" $values.admin.existingSecret "key" . "optional" true) }}
{{- end }}
{{- end }}
{{- if .service.passwordWorkers }}
# One password worker per core that the pod may use, rounded up. Without a limit, Kubernetes would give the node's cores.
- name: PASSWORD_WORKERS
  {{- if dig "limits" "cpu" "" $values.resources }}
  valueFrom:
    resourceFieldRef:
      containerName: {{ .service.name }}
      resource: limits.cpu
      divisor: "1"
  {{- else }}
  value: "1"
  {{- end }}
{{- end }}
{{- if .reserved }}
- name: RESERVED
  value: "true"
{{- end }}
- name: K8S_POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: K8S_POD_UID
  valueFrom:
    fieldRef:
      fieldPath: metadata.uid
- name: K8S_NAMESPACE_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: K8S_NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
- name: OTEL_RESOURCE_ATTRIBUTES
  value: k8s.pod.name=$(K8S_POD_NAME),k8s.pod.uid=$(K8S_POD_UID),k8s.container.name={{ .service.name }},k8s.namespace.name=$(K8S_NAMESPACE_NAME),k8s.node.name=$(K8S_NODE_NAME),k8s.deployment.name={{ include "common.deploymentName" . }}
{{- with $values.tracing.endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
- name: OTEL_TRACES_SAMPLER
  value: parentbased_traceidratio
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ $values.tracing.ratio | quote }}
{{- end }}
{{- with $values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The port of the metrics, or nothing when the metrics are on the port `http`. Only the gateway has this setting. */}}
{{- define "common.metricsPort" -}}
{{- with dig "gateway" "metrics_port" "" .root.Values.config -}}{{ . }}{{- end -}}
{{- end -}}

{{/* A probe: a path, and the values of the probe. */}}
{{- define "common.probe" -}}
httpGet:
  path: {{ .path }}
  port: http
{{ omit . "path" | toYaml }}
{{- end -}}
