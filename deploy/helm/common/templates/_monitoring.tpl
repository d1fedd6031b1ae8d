{{/* Objects of the Prometheus operator, and dashboards that Grafana's sidecar loads. */}}

{{- define "common.servicemonitor" -}}
{{- $monitor := .root.Values.monitoring.serviceMonitor -}}
{{- if $monitor.enabled -}}
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
{{ include "common.metadata" (merge (dict "labels" $monitor.labels) .) }}
spec:
  # The job label of the metrics is the value of this label.
  jobLabel: app.kubernetes.io/name
  selector:
    matchLabels:
      {{- include "common.selectorLabels" . | nindent 6 }}
  namespaceSelector:
    matchNames:
      - {{ .root.Release.Namespace }}
  endpoints:
    - port: {{ if include "common.metricsPort" . }}metrics{{ else }}http{{ end }}
      path: /metrics/prometheus
      interval: {{ $monitor.interval }}
      scrapeTimeout: {{ $monitor.scrapeTimeout }}
{{- end -}}
{{- end -}}

{{- define "common.alerts" -}}
{{- $alerts := .root.Values.monitoring.alerts -}}
{{- if $alerts.enabled -}}
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
{{ include "common.metadata" (merge (dict "labels" $alerts.labels) .) }}
spec:
  {{- include "common.rules" . | fromYaml | toYaml | nindent 2 }}
{{- end -}}
{{- end -}}

{{/*
The rules of the service's file alerts.yaml. Each rule selects the release's namespace. Otherwise a release in another
namespace would hide that this release has no replica left.
*/}}
{{- define "common.rules" -}}
{{- $job := printf "job=\"svgx-%s\"" .service.name -}}
{{- $backup := include "common.fullname" (dict "root" (dict "Values" dict "Release" .root.Release) "service" (dict "name" "backup")) -}}
{{- $certificate := dig "ingress" "tls" "secretName" "svgx-tls" .root.Values.AsMap -}}
{{- .root.Files.Get "alerts.yaml"
  | replace $job (printf "%s,namespace=\"%s\"" $job .root.Release.Namespace)
  | replace "cronjob=\"svgx-backup\"" (printf "cronjob=\"%s\",namespace=\"%s\"" $backup .root.Release.Namespace)
  | replace "cronjob=~\"svgx-state-backup-(full|incremental)\"" (printf "cronjob=~\"%s-(full|incremental)\",namespace=\"%s\"" (include "common.backupName" .) .root.Release.Namespace)
  | replace "job_name=~\"(svgx-backup|svgx-state-backup)-.+\"" (printf "job_name=~\"(%s|%s)-.+\",namespace=\"%s\"" $backup (include "common.backupName" .) .root.Release.Namespace)
  | replace "job_name=~\"svgx-state-backup-.+\"" (printf "job_name=~\"%s-.+\",namespace=\"%s\"" (include "common.backupName" .) .root.Release.Namespace)
  | replace "exported_namespace=~\".+\"" (printf "exported_namespace=\"%s\"" .root.Release.Namespace)
  | replace "exported_namespace=\"\"" (printf "exported_namespace=\"\",namespace=\"%s\"" .root.Release.Namespace)
  | replace "name=\"svgx-tls\"" (printf "name=\"%s\"" $certificate)
  | replace "https://docs.svgx-engine.com/runbooks" (include "common.runbooks" . | trimSuffix "/") -}}
{{- end -}}

{{/*
The address of the runbooks: the global value of the umbrella chart if it is set, otherwise the chart's own value.
*/}}
{{- define "common.runbooks" -}}
{{- .root.Values.global.runbookBaseUrl | default .root.Values.monitoring.alerts.runbookBaseUrl -}}
{{- end -}}

{{- define "common.dashboards" -}}
{{- $dashboards := .root.Values.monitoring.dashboards -}}
{{- $files := .root.Files.Glob "dashboards/*.json" -}}
{{- if and $dashboards.enabled $files -}}
apiVersion: v1
kind: ConfigMap
{{ include "common.metadata" (merge (dict "suffix" "dashboards" "labels" $dashboards.labels "annotations" $dashboards.annotations) .) }}
data:
  {{- range $path, $content := $files }}
  {{ base $path }}: {{ $content | toString | fromJson | toJson | quote }}
  {{- end }}
{{- end -}}
{{- end -}}
