// Examples checks docs/examples as far as that goes without Docker and Kubernetes:
// the files by the schema of Compose and the types of Kubernetes, each name that one
// part has for another, each path on the host, and the configurations by dawk and by
// promtool. Run it in its folder: go run . DAWK
package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
)

const examples = "../../docs/examples"

var faults int

func fault(format string, args ...any) {
	faults++
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}

func must[T any](v T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return v
}

func main() {
	dawk := must(filepath.Abs(os.Args[1]))
	composed(dawk)
	kubernetes(dawk)
	if faults > 0 {
		os.Exit(1)
	}
	fmt.Println("docs/examples: no fault")
}

// service is what is looked at of one in compose.yaml.
type service struct {
	Build   string
	Volumes []string
}

func composed(dawk string) {
	dir := filepath.Join(examples, "compose")
	file := filepath.Join(dir, "compose.yaml")
	text := must(os.ReadFile(file))
	var all map[string]any
	must(0, yaml.Unmarshal(text, &all))
	if err := schema.Validate(all); err != nil {
		fault("%s: %v", file, err)
	}
	var c struct {
		Services map[string]service
		Volumes  map[string]any
	}
	must(0, yaml.Unmarshal(text, &c))
	if _, err := os.Stat(filepath.Join(dir, c.Services["dawk"].Build, "Dockerfile")); err != nil {
		fault("%s: build: %v", file, err)
	}
	for name, s := range c.Services {
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			_, named := c.Volumes[from]
			if _, err := os.Stat(filepath.Join(dir, from)); !named && err != nil {
				fault("%s: %s: %v", file, name, err)
			}
		}
	}
	check(dawk, filepath.Join(dir, "dawk.toml"), string(must(os.ReadFile(filepath.Join(dir, "dawk.toml")))))
	prometheus(dir, c.Services["prometheus"])
	grafana(dir, c.Services["grafana"])
}

// at is the file on the host that a container has at a place.
func (s service) at(dir, place string) string {
	for _, v := range s.Volumes {
		if f := strings.Split(v, ":"); len(f) > 1 && f[1] == place {
			return filepath.Join(dir, f[0])
		}
	}
	fault("%s: nothing is mounted at %s", dir, place)
	return os.DevNull
}

func prometheus(dir string, s service) {
	config := must(os.ReadFile(s.at(dir, "/etc/prometheus/prometheus.yml")))
	temp := must(os.MkdirTemp("", "examples"))
	defer os.RemoveAll(temp)
	must(0, os.WriteFile(temp+"/prometheus.yml", config, 0o600))
	must(0, os.WriteFile(temp+"/alerts.yml", must(os.ReadFile(s.at(dir, "/etc/prometheus/alerts.yml"))), 0o600))
	run("promtool", "check", "config", temp+"/prometheus.yml")
	if !bytes.Contains(config, []byte(`"dawk:8025"`)) {
		fault("%s: Prometheus does not ask dawk", dir)
	}
}

func grafana(dir string, s service) {
	var sources struct{ Datasources []struct{ Type, URL string } }
	must(0, yaml.Unmarshal(must(os.ReadFile(s.at(dir, "/etc/grafana/provisioning/datasources/dawk.yml"))), &sources))
	if len(sources.Datasources) != 1 || sources.Datasources[0].URL != "http://prometheus:9090" || sources.Datasources[0].Type != "prometheus" {
		fault("%s: Grafana does not ask Prometheus: %v", dir, sources)
	}
	var boards struct {
		Providers []struct{ Options struct{ Path string } }
	}
	must(0, yaml.Unmarshal(must(os.ReadFile(s.at(dir, "/etc/grafana/provisioning/dashboards/dawk.yml"))), &boards))
	board := s.at(dir, path.Join(boards.Providers[0].Options.Path, "dawk.json"))
	if must(filepath.Abs(board)) != must(filepath.Abs("../../metrics/grafana.json")) {
		fault("%s: the dashboard is another than metrics/grafana.json", dir)
	}
}

func kubernetes(dawk string) {
	file := filepath.Join(examples, "kubernetes/dawk.yaml")
	var config core.ConfigMap
	var svc core.Service
	var set apps.StatefulSet
	kinds := map[string]any{"ConfigMap": &config, "Service": &svc, "StatefulSet": &set}
	for _, doc := range strings.Split(string(must(os.ReadFile(file))), "\n---\n") {
		var head struct{ Kind string }
		must(0, yaml.Unmarshal([]byte(doc), &head))
		if kinds[head.Kind] == nil {
			fault("%s: %q is not looked at here", file, head.Kind)
		} else if err := yaml.UnmarshalStrict([]byte(doc), kinds[head.Kind]); err != nil {
			fault("%s: %s: %v", file, head.Kind, err)
		}
	}
	check(dawk, file, config.Data["dawk.toml"])
	pod := set.Spec.Template
	for k, v := range set.Spec.Selector.MatchLabels {
		if pod.Labels[k] != v || svc.Spec.Selector[k] != v {
			fault("%s: the selectors and labels differ in %s", file, k)
		}
	}
	c := pod.Spec.Containers[0]
	ports := []intstr.IntOrString{}
	for _, p := range c.Ports {
		ports = append(ports, intstr.FromString(p.Name))
	}
	for _, p := range []*core.Probe{c.StartupProbe, c.LivenessProbe, c.ReadinessProbe} {
		if p == nil || p.HTTPGet == nil || !slices.Contains(ports, p.HTTPGet.Port) {
			fault("%s: a probe is missing, or asks an unknown port", file)
		}
	}
	for _, p := range svc.Spec.Ports {
		if !slices.Contains(ports, p.TargetPort) {
			fault("%s: the service leads to an unknown port %v", file, p.TargetPort)
		}
	}
	volumes := map[string]bool{}
	for _, v := range pod.Spec.Volumes {
		volumes[v.Name] = true
		if v.Projected != nil && v.Projected.Sources[0].ConfigMap.Name != config.Name {
			fault("%s: there is no ConfigMap %s", file, v.Projected.Sources[0].ConfigMap.Name)
		}
	}
	for _, v := range set.Spec.VolumeClaimTemplates {
		volumes[v.Name] = true
	}
	for _, m := range c.VolumeMounts {
		if !volumes[m.Name] {
			fault("%s: there is no volume %s", file, m.Name)
		}
	}
	if set.Spec.ServiceName != svc.Name || *pod.Spec.SecurityContext.FSGroup != *pod.Spec.SecurityContext.RunAsUser {
		fault("%s: serviceName or fsGroup is wrong", file)
	}
}

// check has dawk look at a configuration, with an empty file of users beside it.
func check(dawk, file, text string) {
	temp := must(os.MkdirTemp("", "examples"))
	defer os.RemoveAll(temp)
	must(0, os.WriteFile(temp+"/users.toml", nil, 0o600))
	for _, dir := range []string{"/var/lib/dawk/", "/etc/dawk/"} {
		text = strings.ReplaceAll(text, `"`+dir+`users.toml"`, `"users.toml"`)
	}
	must(0, os.WriteFile(temp+"/dawk.toml", []byte(text), 0o600))
	fmt.Println(file)
	run(dawk, "config", "check", "-c", temp+"/dawk.toml")
}

func run(name string, args ...string) {
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fault("%s %s: %v", name, strings.Join(args, " "), err)
	}
}
