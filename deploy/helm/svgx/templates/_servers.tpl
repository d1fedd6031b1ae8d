{{/* Objects of the servers NATS, PostgreSQL and Valkey. Each template takes a dict with `root` and `name`. */}}

{{- define "svgx.serverName" -}}
{{- include "common.fullname" (dict "root" .root "service" (dict "name" .name)) -}}
{{- end -}}

{{- define "svgx.serverSelector" -}}
{{- include "common.selectorLabels" (dict "root" .root "service" (dict "name" .name)) -}}
{{- end -}}

{{/* The image whose commands make the NATS keys. Helm removes the values of the chart `gateway` if it is not enabled. */}}
{{- define "svgx.gatewayImage" -}}
{{- with .Subcharts.gateway -}}
{{- include "common.serviceImage" (dict "root" .) -}}
{{- else -}}
{{- include "common.serviceImage" (dict "root" (dict "Values" (dict "global" .Values.global "image" (dict "repository" "svgx/gateway")) "Chart" .Chart)) -}}
{{- end -}}
{{- end -}}

{{/* The version of a server is its image's tag, not that of SVGX Engine. */}}
{{- define "svgx.serverMetadata" -}}
{{- $server := get .root.Values .name -}}
{{- include "common.metadata" (dict "root" .root "service" (dict "name" .name) "suffix" .suffix "labels" (dict "app.kubernetes.io/version" $server.image.tag)) -}}
{{- end -}}

{{/* The metadata of a server's pods. The chart's version is not among it, so that an upgrade does not replace the pods. */}}
{{- define "svgx.serverPodMetadata" -}}
{{- $server := get .root.Values .name -}}
metadata:
  labels:
    {{- include "svgx.serverSelector" . | nindent 4 }}
    app.kubernetes.io/component: {{ .name }}
    app.kubernetes.io/part-of: svgx
    app.kubernetes.io/version: {{ $server.image.tag | quote }}
  {{- with merge (.annotations | default dict) $server.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* The nodes on which a server's pods may run, and their priority. */}}
{{- define "svgx.serverScheduling" -}}
{{- include "common.scheduling" (get .root.Values .name) -}}
{{- end -}}

{{/*
A function of the shell that replaces the percent escapes of its argument. A part of a URL, such as a password, may
contain percent escapes. The shells of the images have no command that replaces them.
*/}}
{{- define "svgx.decodeFunction" -}}
decode() {
  rest="$1"
  while [ "${rest#*%}" != "$rest" ]; do
    printf '%s' "${rest%%%*}"
    rest="${rest#*%}"
    case "$rest" in
      [0-9A-Fa-f][0-9A-Fa-f]*)
        code="${rest%"${rest#??}"}"
        printf '%b' "\\0$(printf '%03o' "0x$code")"
        rest="${rest#??}" ;;
      *) printf '%%' ;;
    esac
  done
  printf '%s' "$rest"
}
{{- end -}}

{{/* A policy that admits the named services to one port, and the server's own replicas to `peerPort`. */}}
{{- define "svgx.serverPolicy" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
{{ include "svgx.serverMetadata" . }}
spec:
  podSelector:
    matchLabels:
      {{- include "svgx.serverSelector" . | nindent 6 }}
  policyTypes:
    - Ingress
    - Egress
  ingress:
    - from:
        {{- range .clients }}
        - podSelector:
            matchLabels:
              app.kubernetes.io/name: svgx-{{ . }}
        {{- end }}
      ports:
        - port: {{ .port }}
          protocol: TCP
    {{- if .peerPort }}
    - from:
        - podSelector:
            matchLabels:
              {{- include "svgx.serverSelector" . | nindent 14 }}
      ports:
        - port: {{ .peerPort }}
          protocol: TCP
  egress:
    - to:
        - podSelector:
            matchLabels:
              {{- include "svgx.serverSelector" . | nindent 14 }}
      ports:
        - port: {{ .peerPort }}
          protocol: TCP
    - to:
        {{- toYaml .root.Values.networkPolicy.dns | nindent 8 }}
      ports:
        - port: 53
          protocol: UDP
        - port: 53
          protocol: TCP
    {{- else }}
  egress: []
    {{- end }}
{{- end -}}
