rm -rf /tmp/trainsrc.new; mkdir /tmp/trainsrc.new; cd /work/main; cp -r tiny pipelines ltx2 loras /tmp/trainsrc.new/; rm -rf /tmp/trainsrc; mv /tmp/trainsrc.new /tmp/trainsrc
