{{- define "common.deployment" -}}
{{- $values := .root.Values -}}
{{- $labels := include "common.labels" . | fromYaml -}}
{{- $resources := $values.resources -}}
{{- if .reserved -}}{{- $resources = $values.reserved.resources -}}{{- end -}}
apiVersion: apps/v1
kind: Deployment
{{ include "common.metadata" (merge (dict "name" (include "common.deploymentName" .)) .) }}
spec:
  {{- if .reserved }}
  replicas: {{ $values.reserved.replicaCount }}
  {{- else if not $values.autoscaling.enabled }}
  replicas: {{ $values.replicaCount }}
  {{- end }}
  revisionHistoryLimit: {{ $values.revisionHistoryLimit }}
  selector:
    matchLabels:
      {{- include "common.selectorLabels" . | nindent 6 }}
  strategy:
    type: RollingUpdate
    rollingUpdate:
      {{- toYaml .service.rollingUpdate | nindent 6 }}
  template:
    {{- $annotations := dict "checksum/config" ($values.config | toYaml | sha256sum) }}
    {{- include "common.podMetadata" (merge (dict "labels" $labels "annotations" $annotations) .) | nindent 4 }}
    spec:
      serviceAccountName: {{ include "common.serviceAccountName" . }}
      automountServiceAccountToken: false
      # With service links, Kubernetes would set API_PORT if the namespace had a service with the name `api`.
      enableServiceLinks: false
      {{- include "common.pullSecrets" . | nindent 6 }}
      terminationGracePeriodSeconds: {{ add (int $values.drain.seconds) 15 }}
      securityContext:
        {{- include "common.podSecurityContext" . | nindent 8 }}
      topologySpreadConstraints:
        {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
        - maxSkew: 1
          topologyKey: {{ . }}
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "common.selectorLabels" $ | nindent 14 }}
          {{- if semverCompare ">=1.27-0" $.root.Capabilities.KubeVersion.Version }}
          # Count only the pods of one version, so that the pods of a new version are spread evenly too.
          matchLabelKeys: [pod-template-hash]
          {{- end }}
        {{- end }}
      containers:
        - name: {{ .service.name }}
          image: {{ include "common.serviceImage" . }}
          imagePullPolicy: {{ $values.image.pullPolicy }}
          securityContext:
            {{- include "common.containerSecurityContext" . | nindent 12 }}
          ports:
            - name: http
              containerPort: 8000
            {{- with include "common.metricsPort" . }}
            - name: metrics
              containerPort: {{ . }}
            {{- end }}
          env:
            {{- include "common.env" . | nindent 12 }}
          {{- with $values.extraEnvFrom }}
          envFrom:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          startupProbe:
            {{- include "common.probe" (merge (dict "path" "/health/live") $values.startupProbe) | nindent 12 }}
          livenessProbe:
            {{- include "common.probe" (merge (dict "path" "/health/live") $values.livenessProbe) | nindent 12 }}
          readinessProbe:
            {{- include "common.probe" (merge (dict "path" "/health/ready") $values.readinessProbe) | nindent 12 }}
          resources:
            {{- toYaml $resources | nindent 12 }}
          volumeMounts:
            - name: config
              mountPath: /etc/svgx
              readOnly: true
            - name: tmp
              mountPath: /tmp
            {{- include "common.backupMount" . | trim | nindent 12 }}
            {{- with $values.extraVolumeMounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
        {{- with $values.extraContainers }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      volumes:
        - name: config
          configMap:
            name: {{ include "common.fullname" . }}
        - name: tmp
          emptyDir: {}
        {{- include "common.backupVolume" . | trim | nindent 8 }}
        {{- with $values.extraVolumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- include "common.scheduling" $values | nindent 6 }}
{{- end -}}
