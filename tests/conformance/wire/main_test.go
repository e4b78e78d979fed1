// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

var theirs = cri.File_staging_src_k8s_io_cri_api_pkg_apis_runtime_v1_api_proto

func TestFileIsEqualToItself(t *testing.T) {
	if passed, differences := compare(theirs, theirs); passed < 800 || len(differences) != 0 {
		t.Fatalf("%d passed, differences %q", passed, differences)
	}
}

func TestReferenceHasEveryRPC(t *testing.T) {
	n := 0
	for k := range elements(theirs) {
		if strings.HasPrefix(k, "rpc ") {
			n++
		}
	}
	if n != 43 {
		t.Fatalf("%d RPCs in the CRI module, want 43: go.mod asks for another line of CRI", n)
	}
}

// Every single change that a slip of the pen could make is seen, and blamed on the right element.
func TestChangesAreSeen(t *testing.T) {
	type file = *descriptorpb.FileDescriptorProto
	msg := func(f file, name string) *descriptorpb.DescriptorProto {
		for _, m := range f.MessageType {
			if m.GetName() == name {
				return m
			}
		}
		t.Fatalf("no message %s", name)
		return nil
	}
	for _, c := range []struct {
		name, blamed string
		change       func(file)
	}{
		{"field number", "field runtime.v1.Mount.readonly", func(f file) { msg(f, "Mount").Field[2].Number = proto.Int32(99) }},
		{"field name", "field runtime.v1.Mount.readonly", func(f file) { msg(f, "Mount").Field[2].Name = proto.String("read_only") }},
		{"json name", "field runtime.v1.Mount.readonly", func(f file) { msg(f, "Mount").Field[2].JsonName = proto.String("ro") }},
		{"field type", "field runtime.v1.KeyValue.value", func(f file) {
			msg(f, "KeyValue").Field[1].Type = descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum()
		}},
		{"field label", "field runtime.v1.Mount.mount_options", func(f file) {
			msg(f, "Mount").Field[10].Label = descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()
		}},
		{"message type", "field runtime.v1.CpuUsage.usage_nano_cores", func(f file) {
			msg(f, "CpuUsage").Field[2].TypeName = proto.String(".runtime.v1.Int64Value")
		}},
		{"map value", "field runtime.v1.ImageSpec.AnnotationsEntry.value", func(f file) {
			msg(f, "ImageSpec").NestedType[0].Field[1].Type = descriptorpb.FieldDescriptorProto_TYPE_BYTES.Enum()
		}},
		{"proto3 optional", "oneof runtime.v1.PodIP._ip", func(f file) {
			m := msg(f, "PodIP")
			m.OneofDecl = []*descriptorpb.OneofDescriptorProto{{Name: proto.String("_ip")}}
			m.Field[0].OneofIndex, m.Field[0].Proto3Optional = proto.Int32(0), proto.Bool(true)
		}},
		{"unpacked", "field runtime.v1.PortForwardRequest.port", func(f file) {
			msg(f, "PortForwardRequest").Field[1].Options = &descriptorpb.FieldOptions{Packed: proto.Bool(false)}
		}},
		{"reserved", "message runtime.v1.PodIP", func(f file) {
			msg(f, "PodIP").ReservedName = []string{"address"}
		}},
		{"field gone", "field runtime.v1.PodIP.ip", func(f file) { msg(f, "PodIP").Field = nil }},
		{"message added", "message runtime.v1.Extra", func(f file) {
			f.MessageType = append(f.MessageType, &descriptorpb.DescriptorProto{Name: proto.String("Extra")})
		}},
		{"enum value", "value runtime.v1.Protocol.SCTP", func(f file) {
			for _, e := range f.EnumType {
				if e.GetName() == "Protocol" {
					e.Value[2].Number = proto.Int32(3)
				}
			}
		}},
		{"streaming flag", "rpc runtime.v1.RuntimeService.Version", func(f file) {
			for _, s := range f.Service {
				if s.GetName() == "RuntimeService" {
					s.Method[0].ServerStreaming = proto.Bool(true)
				}
			}
		}},
		{"method gone", "rpc runtime.v1.RuntimeService.Version", func(f file) {
			for _, s := range f.Service {
				if s.GetName() == "RuntimeService" {
					s.Method = s.Method[1:]
				}
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := protodesc.ToFileDescriptorProto(theirs)
			c.change(p)
			ours, err := protodesc.NewFile(p, new(protoregistry.Files))
			if err != nil {
				t.Fatal(err)
			}
			_, differences := compare(ours, theirs)
			for _, d := range differences {
				if strings.HasPrefix(d, c.blamed+":") {
					return
				}
			}
			t.Fatalf("nothing said about %q: %q", c.blamed, differences)
		})
	}
}
