// Writes src/builtin/types.txt: the facts about Kubernetes' API types that the server needs, one type a line.
//
//	kubectl get --raw /openapi/v2 > swagger.json   # of a cluster of the version in go.mod
//	go run . > ../src/builtin/types.txt
//
// Names, Go types, omitempty, pointers, patchStrategy and patchMergeKey are read from the types themselves; list and
// map types of server-side apply from the cluster's OpenAPI. What the signs mean: src/builtin/types.rs.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"sort"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var roots = []any{
	corev1.Pod{}, corev1.PodTemplate{}, corev1.PersistentVolumeClaim{}, corev1.PersistentVolume{}, corev1.Namespace{}, corev1.Node{},
	corev1.Service{}, corev1.Secret{}, corev1.ConfigMap{}, corev1.ServiceAccount{}, corev1.Event{}, corev1.Endpoints{},
	corev1.LimitRange{}, corev1.ResourceQuota{}, corev1.ReplicationController{}, corev1.Binding{},
	appsv1.Deployment{}, appsv1.ReplicaSet{}, appsv1.StatefulSet{}, appsv1.DaemonSet{}, appsv1.ControllerRevision{},
	batchv1.Job{}, batchv1.CronJob{},
	storagev1.StorageClass{}, storagev1.CSIDriver{}, storagev1.CSINode{}, storagev1.VolumeAttachment{}, storagev1.CSIStorageCapacity{},
	storagev1.VolumeAttributesClass{},
	rbacv1.Role{}, rbacv1.RoleBinding{}, rbacv1.ClusterRole{}, rbacv1.ClusterRoleBinding{},
	coordinationv1.Lease{}, discoveryv1.EndpointSlice{}, eventsv1.Event{}, policyv1.PodDisruptionBudget{}, policyv1.Eviction{},
	networkingv1.Ingress{}, networkingv1.NetworkPolicy{}, networkingv1.IngressClass{}, schedulingv1.PriorityClass{},
	autoscalingv1.Scale{}, autoscalingv1.HorizontalPodAutoscaler{}, autoscalingv2.HorizontalPodAutoscaler{},
	authenticationv1.TokenRequest{}, authenticationv1.TokenReview{}, authenticationv1.SelfSubjectReview{},
	authorizationv1.SubjectAccessReview{}, authorizationv1.SelfSubjectAccessReview{}, authorizationv1.SelfSubjectRulesReview{}, authorizationv1.LocalSubjectAccessReview{},
	apiext.CustomResourceDefinition{},
}

var defs map[string]any

func short(t reflect.Type) string {
	p := t.PkgPath()
	p = strings.TrimPrefix(p, "k8s.io/api/")
	p = strings.Replace(p, "k8s.io/apiextensions-apiserver/pkg/apis/", "", 1)
	p = strings.Replace(p, "k8s.io/apimachinery/pkg/apis/", "", 1)
	return strings.ReplaceAll(p, "/", ".") + "." + t.Name()
}

func def(t reflect.Type) map[string]any {
	p := t.PkgPath()
	p = strings.Replace(p, "k8s.io/", "io.k8s.", 1)
	p = strings.ReplaceAll(p, "/", ".")
	d, _ := defs[p+"."+t.Name()].(map[string]any)
	return d
}

var todo []reflect.Type
var seen = map[reflect.Type]bool{}

func name(t reflect.Type) string {
	switch t {
	case reflect.TypeOf(resource.Quantity{}):
		return "quantity"
	case reflect.TypeOf(intstr.IntOrString{}):
		return "intstr"
	case reflect.TypeOf(metav1.Time{}):
		return "time"
	case reflect.TypeOf(metav1.MicroTime{}):
		return "microtime"
	case reflect.TypeOf(metav1.FieldsV1{}), reflect.TypeOf(runtime.RawExtension{}), reflect.TypeOf(apiext.JSON{}),
		reflect.TypeOf(apiext.JSONSchemaProps{}), reflect.TypeOf(metav1.Duration{}):
		return "any"
	}
	switch t.Kind() {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "bool"
	case reflect.Int32, reflect.Int64, reflect.Float64:
		return t.Kind().String()
	case reflect.Int:
		return "int64"
	case reflect.Ptr:
		return name(t.Elem())
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "bytes"
		}
		return "[]" + name(t.Elem())
	case reflect.Map:
		return "{}" + name(t.Elem())
	case reflect.Struct:
		if !seen[t] {
			seen[t] = true
			todo = append(todo, t)
		}
		return short(t)
	}
	panic(t.String())
}

func props(d map[string]any, f string) map[string]any {
	p, _ := d["properties"].(map[string]any)
	q, _ := p[f].(map[string]any)
	return q
}

func fields(t reflect.Type, d map[string]any) []string {
	var out []string
	for i := 0; i < t.NumField(); i++ {
		f := t.Field(i)
		tag := strings.Split(f.Tag.Get("json"), ",")
		if tag[0] == "-" {
			continue
		}
		inline := false
		omit := false
		for _, x := range tag[1:] {
			if x == "inline" {
				inline = true
			}
			if x == "omitempty" || x == "omitzero" {
				omit = true
			}
		}
		if tag[0] == "" && (inline || f.Anonymous) {
			ft := f.Type
			if ft.Kind() == reflect.Ptr {
				ft = ft.Elem()
			}
			out = append(out, fields(ft, d)...)
			continue
		}
		s := tag[0] + ":" + name(f.Type)
		ptr := f.Type.Kind() == reflect.Ptr
		switch f.Type.Kind() {
		case reflect.Slice, reflect.Map:
			if !omit {
				s += "!"
			}
		default:
			if ptr {
				if !omit {
					s += "!"
				}
				s += "*"
			} else if !omit {
				s += "!"
			} else if f.Type.Kind() == reflect.Struct && !strings.Contains(f.Tag.Get("json"), "omitzero") {
				s += "!" // encoding/json never omits a struct
			}
		}
		p := props(d, tag[0])
		if p == nil {
			fmt.Fprintln(os.Stderr, "no schema", t, tag[0])
		}
		if lt, ok := p["x-kubernetes-list-type"].(string); ok {
			switch lt {
			case "set":
				s += "@set"
			case "map":
				var ks []string
				for _, k := range p["x-kubernetes-list-map-keys"].([]any) {
					ks = append(ks, k.(string))
				}
				s += "@" + strings.Join(ks, ",")
			}
		}
		if mt, ok := p["x-kubernetes-map-type"].(string); ok && mt == "atomic" {
			s += "#"
		}
		ps := f.Tag.Get("patchStrategy")
		if strings.Contains(ps, "merge") {
			s += "~" + f.Tag.Get("patchMergeKey")
		}
		if strings.Contains(ps, "retainKeys") {
			s += "^"
		}
		out = append(out, s)
	}
	return out
}

func main() {
	b, _ := os.ReadFile("swagger.json")
	var sw map[string]any
	json.Unmarshal(b, &sw)
	defs = sw["definitions"].(map[string]any)
	for _, r := range roots {
		t := reflect.TypeOf(r)
		seen[t] = true
		todo = append(todo, t)
	}
	var lines []string
	for len(todo) > 0 {
		t := todo[0]
		todo = todo[1:]
		d := def(t)
		if d == nil {
			fmt.Fprintln(os.Stderr, "no definition", t)
		}
		head := short(t)
		if mt, ok := d["x-kubernetes-map-type"].(string); ok && mt == "atomic" {
			head += "#"
		}
		lines = append(lines, head+" "+strings.Join(fields(t, d), " "))
	}
	sort.Strings(lines)
	fmt.Println(strings.Join(lines, "\n"))
}
