{{/*
Every template takes a dict: `root` (the chart's scope) and `service` (the content of the chart's file service.yaml).
*/}}


{{/*
The name of the service's objects: the release and the service, such as `svgx-gateway`. It has at most 52 characters,
because Kubernetes adds 11 to the name of a StatefulSet, and the charts add up to 11.
*/}}
{{- define "common.fullname" -}}
{{- $values := .root.Values -}}
{{- $name := .service.name -}}
{{- if $values.fullnameOverride -}}
{{- $values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if hasSuffix $name .root.Release.Name -}}
{{- .root.Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" (.root.Release.Name | trunc (int (sub 51 (len $name))) | trimSuffix "-") $name -}}
{{- end -}}
{{- end -}}

{{/* The labels that select the service's pods. They never change, because a Deployment's selector cannot change. */}}
{{- define "common.selectorLabels" -}}
app.kubernetes.io/name: svgx-{{ .service.name }}
app.kubernetes.io/instance: {{ .root.Release.Name | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "common.labels" -}}
{{ include "common.selectorLabels" . }}
app.kubernetes.io/component: {{ .service.name }}
app.kubernetes.io/part-of: svgx
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* An image reference: the global registry, or the image's own; the digest, or the tag, or the chart's app version. */}}
{{- define "common.image" -}}
{{- $image := .image -}}
{{- $registry := .root.Values.global.imageRegistry | default $image.registry -}}
{{- $name := $image.repository -}}
{{- if $registry -}}{{- $name = printf "%s/%s" $registry $image.repository -}}{{- end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name ($image.tag | default .root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- define "common.pullSecrets" -}}
{{- $names := concat (.root.Values.global.imagePullSecrets | default list) (.root.Values.imagePullSecrets | default list) | uniq -}}
{{- if $names }}
imagePullSecrets:
{{- range $names }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* An object's metadata. `suffix` is added to the name, `labels` and `annotations` to the usual ones. */}}
{{- define "common.metadata" -}}
{{- $labels := include "common.labels" . | fromYaml -}}
metadata:
  name: {{ include "common.fullname" . }}{{ with .suffix }}-{{ . }}{{ end }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- merge (dict) (.labels | default dict) $labels | toYaml | nindent 4 }}
  {{- with .annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
