{{- define "common.autoscaler" -}}
{{- $scaling := .root.Values.autoscaling -}}
{{- if $scaling.enabled -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
{{ include "common.metadata" . }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ include "common.fullname" . }}
  minReplicas: {{ $scaling.minReplicas }}
  maxReplicas: {{ $scaling.maxReplicas }}
  metrics:
    {{- /* Measure only the service's own container. Kubernetes can do this from version 1.30 on. */}}
    {{- $own := semverCompare ">=1.30-0" .root.Capabilities.KubeVersion.Version }}
    {{- $container := .service.name }}
    {{- range $name, $utilization := dict "cpu" $scaling.targetCPUUtilization "memory" $scaling.targetMemoryUtilization }}
    - type: {{ $own | ternary "ContainerResource" "Resource" }}
      {{ $own | ternary "containerResource" "resource" }}:
        {{- if $own }}
        container: {{ $container }}
        {{- end }}
        name: {{ $name }}
        target:
          type: Utilization
          averageUtilization: {{ $utilization }}
    {{- end }}
    {{- if and .service.public $scaling.connectionsPerReplica }}
    - type: Pods
      pods:
        metric:
          name: svgx_engine_live_connections
        target:
          type: AverageValue
          averageValue: {{ $scaling.connectionsPerReplica | quote }}
    {{- end }}
  behavior:
    {{- toYaml $scaling.behavior | nindent 4 }}
{{- end -}}
{{- end -}}
