// SPDX-License-Identifier: Apache-2.0

// Wire compares a descriptor set compiled from berth's cri/v1/api.proto with the CRI descriptor that Kubernetes itself
// links in, element by element: services and methods, messages and fields, enums and values, in both directions.
//
//	protoc -I proto --descriptor_set_out=cri_v1.desc cri/v1/api.proto
//	go run . cri_v1.desc
//
// It prints every difference, then "N passed, N failed". Exit status: 0 same, 1 different, 2 could not compare.
package main

import (
	"fmt"
	"os"
	"sort"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const pkg = "runtime.v1"

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: wire DESCRIPTOR_SET")
		os.Exit(2)
	}
	ours, err := load(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "wire:", err)
		os.Exit(2)
	}
	passed, differences := compare(ours, cri.File_staging_src_k8s_io_cri_api_pkg_apis_runtime_v1_api_proto)
	for _, d := range differences {
		fmt.Println(d)
	}
	fmt.Printf("%d passed, %d failed\n", passed, len(differences))
	if len(differences) > 0 {
		os.Exit(1)
	}
}

// load returns the one file of package runtime.v1 in the descriptor set at path.
func load(path string) (protoreflect.FileDescriptor, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(data, &set); err != nil {
		return nil, fmt.Errorf("%s is no descriptor set: %w", path, err)
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var found []protoreflect.FileDescriptor
	files.RangeFilesByPackage(pkg, func(f protoreflect.FileDescriptor) bool {
		found = append(found, f)
		return true
	})
	if len(found) != 1 {
		return nil, fmt.Errorf("%s: %d files of package %s, want 1", path, len(found), pkg)
	}
	return found[0], nil
}

// compare counts the elements of both files that are the same and says what is wrong with the others.
func compare(ours, theirs protoreflect.FileDescriptor) (passed int, differences []string) {
	a, b := elements(ours), elements(theirs)
	keys := map[string]bool{}
	for k := range a {
		keys[k] = true
	}
	for k := range b {
		keys[k] = true
	}
	sorted := make([]string, 0, len(keys))
	for k := range keys {
		sorted = append(sorted, k)
	}
	sort.Strings(sorted)
	for _, k := range sorted {
		x, inOurs := a[k]
		y, inTheirs := b[k]
		switch {
		case !inOurs:
			differences = append(differences, fmt.Sprintf("%s: missing, want %s", k, y))
		case !inTheirs:
			differences = append(differences, fmt.Sprintf("%s: not part of CRI: %s", k, x))
		case x != y:
			differences = append(differences, fmt.Sprintf("%s: is %s, want %s", k, x, y))
		default:
			passed++
		}
	}
	return passed, differences
}

// elements maps the full name of everything in the file to a text with all that decides its form on the wire or in JSON.
// Comments, order, file options and deprecation marks decide nothing and are left out.
func elements(f protoreflect.FileDescriptor) map[string]string {
	m := map[string]string{"file": fmt.Sprintf("package %s syntax %s", f.Package(), f.Syntax())}
	for i := 0; i < f.Services().Len(); i++ {
		s := f.Services().Get(i)
		m["service "+string(s.FullName())] = fmt.Sprintf("%d methods", s.Methods().Len())
		for j := 0; j < s.Methods().Len(); j++ {
			r := s.Methods().Get(j)
			m["rpc "+string(r.FullName())] = fmt.Sprintf("(%s%s) returns (%s%s)", stream(r.IsStreamingClient()),
				r.Input().FullName(), stream(r.IsStreamingServer()), r.Output().FullName())
		}
	}
	addEnums(m, f.Enums())
	addMessages(m, f.Messages())
	for i := 0; i < f.Extensions().Len(); i++ {
		x := f.Extensions().Get(i)
		m["extension "+string(x.FullName())] = field(x)
	}
	return m
}

func addMessages(m map[string]string, messages protoreflect.MessageDescriptors) {
	for i := 0; i < messages.Len(); i++ {
		d := messages.Get(i)
		m["message "+string(d.FullName())] = fmt.Sprintf("%d fields, %d oneofs, map entry %t, reserved %s",
			d.Fields().Len(), d.Oneofs().Len(), d.IsMapEntry(), reserved(d))
		for j := 0; j < d.Fields().Len(); j++ {
			m["field "+string(d.Fields().Get(j).FullName())] = field(d.Fields().Get(j))
		}
		for j := 0; j < d.Oneofs().Len(); j++ {
			o := d.Oneofs().Get(j)
			m["oneof "+string(o.FullName())] = fmt.Sprintf("%d fields, synthetic %t", o.Fields().Len(), o.IsSynthetic())
		}
		addEnums(m, d.Enums())
		addMessages(m, d.Messages())
	}
}

func addEnums(m map[string]string, enums protoreflect.EnumDescriptors) {
	for i := 0; i < enums.Len(); i++ {
		e := enums.Get(i)
		m["enum "+string(e.FullName())] = fmt.Sprintf("%d values, closed %t", e.Values().Len(), e.IsClosed())
		for j := 0; j < e.Values().Len(); j++ {
			// Values live in the scope around their enum, so their full name does not say whose they are.
			v := e.Values().Get(j)
			m["value "+string(e.FullName())+"."+string(v.Name())] = fmt.Sprintf("= %d", v.Number())
		}
	}
}

func field(f protoreflect.FieldDescriptor) string {
	s := fmt.Sprintf("%s %s = %d, json %q", f.Cardinality(), typeName(f), f.Number(), f.JSONName())
	if f.IsMap() {
		s += fmt.Sprintf(", map of %s to %s", typeName(f.MapKey()), typeName(f.MapValue()))
	}
	if o := f.ContainingOneof(); o != nil {
		s += ", in oneof " + string(o.Name())
	}
	return s + fmt.Sprintf(", optional %t, presence %t, packed %t", f.HasOptionalKeyword(), f.HasPresence(), f.IsPacked())
}

func typeName(f protoreflect.FieldDescriptor) string {
	switch {
	case f.Message() != nil:
		return string(f.Message().FullName())
	case f.Enum() != nil:
		return string(f.Enum().FullName())
	}
	return f.Kind().String()
}

func reserved(d protoreflect.MessageDescriptor) string {
	ranges, names := d.ReservedRanges(), d.ReservedNames()
	s := "["
	for i := 0; i < ranges.Len(); i++ {
		s += fmt.Sprintf("%d-%d ", ranges.Get(i)[0], ranges.Get(i)[1]-1)
	}
	for i := 0; i < names.Len(); i++ {
		s += string(names.Get(i)) + " "
	}
	return s + "]"
}

func stream(yes bool) string {
	if yes {
		return "stream "
	}
	return ""
}
