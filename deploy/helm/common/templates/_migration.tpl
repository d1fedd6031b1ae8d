{{/* An optional Job that applies the migrations of a new version before its pods start. Otherwise the pods apply them. */}}
{{- define "common.migration" -}}
{{- $values := .root.Values -}}
{{- if and .service.database $values.migration.enabled -}}
apiVersion: batch/v1
kind: Job
{{ include "common.metadata" (merge (dict "suffix" "migrate" "labels" (include "common.migrationLabels" . | fromYaml) "annotations" (dict "helm.sh/hook" "pre-upgrade" "helm.sh/hook-delete-policy" "before-hook-creation,hook-succeeded")) .) }}
spec:
  backoffLimit: 2
  activeDeadlineSeconds: {{ $values.migration.deadlineSeconds }}
  template:
    {{- include "common.podMetadata" (merge (dict "labels" (include "common.migrationLabels" . | fromYaml)) .) | nindent 4 }}
    spec:
      restartPolicy: Never
      {{- /* Helm makes the chart's own service account after the Job, so the Job uses only an existing account. */}}
      {{- if not $values.serviceAccount.create }}
      serviceAccountName: {{ include "common.serviceAccountName" . }}
      {{- end }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      {{- include "common.pullSecrets" . | nindent 6 }}
      securityContext:
        {{- include "common.podSecurityContext" . | nindent 8 }}
      containers:
        - name: migrate
          image: {{ include "common.serviceImage" . }}
          imagePullPolicy: {{ $values.image.pullPolicy }}
          securityContext:
            {{- include "common.containerSecurityContext" . | nindent 12 }}
          args: ["migrate"]
          # The pod has no configuration file, because Helm replaces this file after the Job.
          env:
            {{- include "common.secretVariables" . | trim | nindent 12 }}
            {{- with $values.extraEnv }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          {{- with $values.extraEnvFrom }}
          envFrom:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          resources:
            {{- toYaml $values.resources | nindent 12 }}
          volumeMounts:
            - name: tmp
              mountPath: /tmp
            {{- with $values.extraVolumeMounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
      volumes:
        - name: tmp
          emptyDir: {}
        {{- with $values.extraVolumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- include "common.jobScheduling" . | nindent 6 }}
{{- end -}}
{{- end -}}

{{/* The pod has a name label of its own. With the service's label, it would get the service's requests. */}}
{{- define "common.migrationLabels" -}}
app.kubernetes.io/name: svgx-migrate
app.kubernetes.io/instance: {{ .root.Release.Name | trunc 63 | trimSuffix "-" | quote }}
{{- end -}}
