{{/*
Most templates take a dict: `root` (the chart's scope) and `service` (the content of the chart's file service.yaml).
With `reserved`, a template is about the reserved replicas of the service.
*/}}

{{/*
The name of the service's objects: the release and the service, such as `svgx-gateway`. It has at most 52 characters,
because Kubernetes adds 11 to the name of a StatefulSet, and the charts add up to 11.
*/}}
{{- define "common.fullname" -}}
{{- $values := .root.Values -}}
{{- $name := .service.name -}}
{{- $release := .root.Release.Name | replace "." "-" -}}
{{- if $values.fullnameOverride -}}
{{- $values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if not (regexMatch "^[a-z]" $release) -}}
{{- fail (printf "the release name %s does not begin with a letter, as names of Kubernetes services must: choose another one, or set fullnameOverride" .root.Release.Name) -}}
{{- else if hasSuffix $name $release -}}
{{- $release | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" ($release | trunc (int (sub 51 (len $name))) | trimSuffix "-") $name -}}
{{- end -}}
{{- end -}}

{{/* The name of a Deployment of the service: the full name, or that of the reserved replicas. */}}
{{- define "common.deploymentName" -}}
{{- include "common.fullname" . -}}{{- if .reserved -}}-reserved{{- end -}}
{{- end -}}

{{/*
The labels that select the service's pods. They never change, because a Deployment's selector cannot change. The pods
of reserved replicas have a name label of their own. With the service's label, the autoscaler and the disruption budget
would count them.
*/}}
{{- define "common.selectorLabels" -}}
app.kubernetes.io/name: {{ include "common.nameLabel" . }}
app.kubernetes.io/instance: {{ .root.Release.Name | trunc 63 | trimSuffix "-" | quote }}
{{- end -}}

{{- define "common.nameLabel" -}}
svgx-{{ .service.name }}{{ if .reserved }}-reserved{{ end }}
{{- end -}}

{{- define "common.labels" -}}
{{ include "common.selectorLabels" . }}
app.kubernetes.io/component: {{ .service.name }}
app.kubernetes.io/part-of: svgx
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/*
An image reference. The registry is `registry`, or the global one of all images, or the image's own. The version is the
digest, or the tag, or the chart's app version. In both cases, the first of them that is set is used.
*/}}
{{- define "common.image" -}}
{{- $image := .image -}}
{{- $registry := .registry | default .root.Values.global.imageRegistry | default $image.registry -}}
{{- $name := $image.repository -}}
{{- if $registry -}}{{- $name = printf "%s/%s" $registry $image.repository -}}{{- end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name ($image.tag | default .root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* The reference of the service's image. The registry of `make publish` has only the images of the services. */}}
{{- define "common.serviceImage" -}}
{{- include "common.image" (dict "root" .root "image" .root.Values.image "registry" .root.Values.global.serviceImageRegistry) -}}
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

{{/*
An object's metadata. `name` replaces the usual name, and `suffix` is added to the name. `labels` and `annotations` are
added to the usual ones.
*/}}
{{- define "common.metadata" -}}
{{- $labels := include "common.labels" . | fromYaml -}}
metadata:
  name: {{ .name | default (include "common.fullname" .) }}{{ with .suffix }}-{{ . }}{{ end }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- merge (dict) (.labels | default dict) $labels | toYaml | nindent 4 }}
  {{- with .annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
