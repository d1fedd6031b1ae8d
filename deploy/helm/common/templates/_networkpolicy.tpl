{{/* Refuse all traffic, except the flows of the architecture. */}}
{{- define "common.networkpolicy" -}}
{{- $policy := .root.Values.networkPolicy -}}
{{- if $policy.enabled -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
{{ include "common.metadata" . }}
spec:
  podSelector:
    {{- include "common.allReplicas" . | nindent 4 }}
  policyTypes:
    - Ingress
    - Egress
  ingress:
    {{- $sources := .service.ingress }}
    {{- if include "common.metricsPort" . }}
    {{- $sources = without $sources "monitoring" }}
    {{- /* Without sources, the rule would admit all. */}}
    {{- with $policy.ingress.monitoring }}
    - from:
        {{- toYaml . | nindent 8 }}
      ports:
        - port: metrics
          protocol: TCP
    {{- end }}
    {{- end }}
    - from:
        {{- range $sources }}
        {{- range get $policy.ingress . }}
        - {{ toYaml . | nindent 10 | trim }}
        {{- end }}
        {{- end }}
        # The pod of `helm test` belongs to this release.
        - podSelector:
            matchLabels:
              svgx.dev/test-of: {{ include "common.fullname" . }}
      ports:
        - port: http
          protocol: TCP
    {{- with $policy.extraIngress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  egress:
    - to:
        {{- toYaml $policy.egress.dns.to | nindent 8 }}
      ports:
        - port: 53
          protocol: UDP
        - port: 53
          protocol: TCP
    {{- range .service.egress }}
    {{- $flow := get $policy.egress . }}
    - to:
        {{- toYaml $flow.to | nindent 8 }}
      ports:
        {{- range $flow.ports }}
        - port: {{ . }}
          protocol: TCP
        {{- end }}
    {{- end }}
    {{- if .root.Values.tracing.endpoint }}
    - to:
        {{- toYaml $policy.egress.tracing.to | nindent 8 }}
      ports:
        {{- range $policy.egress.tracing.ports }}
        - port: {{ . }}
          protocol: TCP
        {{- end }}
    {{- end }}
    {{- if dig "oidc" "enabled" false $policy.egress }}
    - to:
        {{- toYaml $policy.egress.oidc.to | nindent 8 }}
      ports:
        {{- range $policy.egress.oidc.ports }}
        - port: {{ . }}
          protocol: TCP
        {{- end }}
    {{- end }}
    {{- if dig "webhooks" "enabled" false $policy.egress }}
    - to:
        {{- toYaml $policy.egress.webhooks.to | nindent 8 }}
      ports:
        {{- range $policy.egress.webhooks.ports }}
        - port: {{ . }}
          protocol: TCP
        {{- end }}
    {{- end }}
    {{- if include "common.usesObjectStorage" . }}
    {{- include "common.egressFlow" $policy.egress.objectStorage | nindent 4 }}
    {{- end }}
    {{- with $policy.extraEgress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
{{- end -}}
