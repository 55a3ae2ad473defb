import React, { useState } from "react";
import { Button } from "@/ui/button";

type Props = { title: string };

/** One card. */
export default function Card({ title }: Props) {
  const [open, setOpen] = useState(false);
  return (
    <Button onClick={() => setOpen(!open)} label={title}>
      It's {format(title)}
    </Button>
  );
}

export const Row: React.FC<Props> = (props) => <Card title={props.title} />;
