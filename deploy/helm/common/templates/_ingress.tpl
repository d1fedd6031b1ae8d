{{/* The Ingress and the HTTPRoute, which make the gateway reachable from outside the cluster. Neither exposes /metrics. */}}

{{- define "common.ingress" -}}
{{- $ingress := .root.Values.ingress -}}
{{- if $ingress.enabled -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
{{- $annotations := $ingress.annotations -}}
{{- with $ingress.tls.clusterIssuer }}
{{- $annotations = merge (dict "cert-manager.io/cluster-issuer" .) $annotations -}}
{{- end }}
{{ include "common.metadata" (merge (dict "annotations" $annotations) .) }}
spec:
  {{- with $ingress.className }}
  ingressClassName: {{ . }}
  {{- end }}
  {{- if $ingress.tls.enabled }}
  tls:
    - hosts:
        - {{ required "ingress.host is required with ingress.enabled" $ingress.host | quote }}
      secretName: {{ $ingress.tls.secretName }}
  {{- end }}
  rules:
    - host: {{ required "ingress.host is required with ingress.enabled" $ingress.host | quote }}
      http:
        paths:
          {{- range .service.paths }}
          - path: {{ .path }}
            # ingress-nginx refuses a dot in the paths of other types.
            pathType: {{ contains "." .path | ternary "ImplementationSpecific" .type }}
            backend:
              service:
                name: {{ include "common.fullname" $ }}
                port:
                  name: http
          {{- end }}
{{- end -}}
{{- end -}}

{{- define "common.httproute" -}}
{{- $route := .root.Values.httpRoute -}}
{{- if $route.enabled -}}
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
{{ include "common.metadata" (merge (dict "annotations" $route.annotations) .) }}
spec:
  parentRefs:
    {{- required "httpRoute.parentRefs is required with httpRoute.enabled" $route.parentRefs | toYaml | nindent 4 }}
  {{- with $route.hostnames }}
  hostnames:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
    # A rule has at most 8 matches.
    {{- range chunk 8 .service.paths }}
    - matches:
        {{- range . }}
        - path:
            type: {{ ternary "PathPrefix" "Exact" (eq .type "Prefix") }}
            value: {{ .path }}
        {{- end }}
      backendRefs:
        - name: {{ include "common.fullname" $ }}
          port: {{ $.root.Values.service.port }}
    {{- end }}
{{- end -}}
{{- end -}}
