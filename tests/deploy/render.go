// render.go: renders a Helm chart with Helm's own template engine and Sprig, as far as this chart needs it.
//
// usage: render CHART RELEASE NAMESPACE [VALUES.yaml]...   prints every manifest, then NOTES.txt behind a line "# NOTES".
// Happy path: values merged in order, _*.tpl read first, each template executed. Failure modes: anything that Helm would
// refuse (a template that fails, a function that is not there) ends it with the reason and exit code 1.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
	"sigs.k8s.io/yaml"
)

type object = map[string]interface{}

// files is what Helm offers as .Files: texts by path below the chart.
type files map[string]string

func (f files) Get(name string) string { return f[name] }

func (f files) Glob(pattern string) files {
	found := files{}
	for name, text := range f {
		if ok, _ := path.Match(pattern, name); ok {
			found[name] = text
		}
	}
	return found
}

func (f files) AsConfig() string {
	all := object{}
	for name, text := range f {
		all[path.Base(name)] = text
	}
	return toYaml(all)
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func read(file string) string {
	bytes, err := os.ReadFile(file)
	must(err)
	return string(bytes)
}

func load(file string) object {
	values := object{}
	must(yaml.Unmarshal([]byte(read(file)), &values))
	return values
}

func merge(into, from object) object {
	for key, value := range from {
		inner, isMap := value.(object)
		old, wasMap := into[key].(object)
		if isMap && wasMap {
			into[key] = merge(old, inner)
		} else {
			into[key] = value
		}
	}
	return into
}

func toYaml(value interface{}) string {
	text, err := yaml.Marshal(value)
	must(err)
	return strings.TrimSuffix(string(text), "\n")
}

func functions(all *template.Template) template.FuncMap {
	table := sprig.TxtFuncMap()
	delete(table, "env")
	delete(table, "expandenv")
	table["toYaml"] = toYaml
	table["required"] = func(message string, value interface{}) (interface{}, error) {
		if value == nil || value == "" {
			return nil, errors.New(message)
		}
		return value, nil
	}
	table["include"] = func(name string, data interface{}) (string, error) {
		var out bytes.Buffer
		err := all.ExecuteTemplate(&out, name, data)
		return strings.ReplaceAll(out.String(), "<no value>", ""), err
	}
	return table
}

func below(chart string) files {
	found := files{}
	must(filepath.Walk(chart, func(name string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			relative, _ := filepath.Rel(chart, name)
			found[relative] = read(name)
		}
		return err
	}))
	return found
}

func main() {
	chart, release, namespace := os.Args[1], os.Args[2], os.Args[3]
	values := load(filepath.Join(chart, "values.yaml"))
	for _, name := range os.Args[4:] {
		values = merge(values, load(name))
	}
	about := load(filepath.Join(chart, "Chart.yaml"))
	tree := below(chart)
	all := template.New("chart").Option("missingkey=zero")
	all.Funcs(functions(all))
	var names []string
	for name, text := range tree {
		if strings.HasPrefix(name, "templates/") {
			names = append(names, name)
			_, err := all.New(about["name"].(string) + "/" + name).Parse(text)
			must(err)
		}
	}
	sort.Strings(names)
	notes := ""
	for _, name := range names {
		if strings.HasPrefix(filepath.Base(name), "_") {
			continue
		}
		full := about["name"].(string) + "/" + name
		var out bytes.Buffer
		must(all.ExecuteTemplate(&out, full, object{
			"Values": values, "Files": tree,
			"Chart":        object{"Name": about["name"], "Version": about["version"], "AppVersion": about["appVersion"]},
			"Release":      object{"Name": release, "Namespace": namespace, "Service": "Helm", "IsInstall": true, "Revision": 1},
			"Capabilities": object{"KubeVersion": object{"Version": "v1.33.0", "Major": "1", "Minor": "33"}},
			"Template":     object{"Name": full, "BasePath": about["name"].(string) + "/templates"},
		}))
		text := strings.TrimSpace(strings.ReplaceAll(out.String(), "<no value>", ""))
		if filepath.Base(name) == "NOTES.txt" {
			notes = text
		} else if text != "" {
			fmt.Printf("---\n# Source: %s\n%s\n", name, text)
		}
	}
	fmt.Printf("# NOTES\n%s\n", notes)
}
