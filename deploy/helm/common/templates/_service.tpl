{{/* The Kubernetes services: one for the requests, and one for Prometheus if the metrics have a port of their own. */}}
{{- define "common.service" -}}
{{- $values := .root.Values -}}
{{- /* The ServiceMonitor selects these labels. So it also finds the Kubernetes service of reserved replicas. */}}
{{- $labels := include "common.selectorLabels" (omit . "reserved") | fromYaml -}}
apiVersion: v1
kind: Service
{{ include "common.metadata" (merge (dict "name" (include "common.deploymentName" .) "labels" $labels "annotations" $values.service.annotations) .) }}
spec:
  type: {{ $values.service.type }}
  selector:
    {{- include "common.selectorLabels" . | nindent 4 }}
  ports:
    - name: http
      port: {{ $values.service.port }}
      targetPort: http
      appProtocol: http
{{- end -}}

{{/*
A Kubernetes service of its own for the port of the metrics. With a port in the other service, the type LoadBalancer or
NodePort would open the metrics to clients. The service is headless, so that DNS lists all replicas for a Prometheus
without the operator.
*/}}
{{- define "common.metricsservice" -}}
{{- if include "common.metricsPort" . -}}
apiVersion: v1
kind: Service
{{ include "common.metadata" (merge (dict "suffix" "metrics") .) }}
spec:
  clusterIP: None
  selector:
    {{- include "common.selectorLabels" . | nindent 4 }}
  ports:
    - name: metrics
      port: {{ include "common.metricsPort" . }}
      targetPort: metrics
      appProtocol: http
{{- end -}}
{{- end -}}
