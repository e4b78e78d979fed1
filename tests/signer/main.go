// signer KEY NAME@DIGEST: signs an image as cosign does, with sigstore's own library. KEY is a private key in PEM (PKCS #8).
// Prints the payload and the signature, each in base64 on a line.
package main

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"fmt"
	"os"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/payload"
)

func sign(keyFile, image string) (claim, signed []byte, err error) {
	pem, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, nil, err
	}
	key, err := cryptoutils.UnmarshalPEMToPrivateKey(pem, nil)
	if err != nil {
		return nil, nil, err
	}
	signer, err := signature.LoadSigner(key, crypto.SHA256)
	if err != nil {
		return nil, nil, err
	}
	digest, err := name.NewDigest(image, name.Insecure)
	if err != nil {
		return nil, nil, err
	}
	claim, err = payload.Cosign{Image: digest}.MarshalJSON()
	if err != nil {
		return nil, nil, err
	}
	signed, err = signer.SignMessage(bytes.NewReader(claim))
	return claim, signed, err
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: signer KEY NAME@DIGEST")
		os.Exit(2)
	}
	claim, signed, err := sign(os.Args[1], os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, "signer:", err)
		os.Exit(1)
	}
	for _, part := range [][]byte{claim, signed} {
		fmt.Println(base64.StdEncoding.EncodeToString(part))
	}
}
